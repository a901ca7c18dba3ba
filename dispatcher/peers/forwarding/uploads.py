"""A large body on its way to a partition of another process, piece by piece as it arrives.

    held ─(connected)─▶ its pieces go over there, where they are stored
        └─(the partition is here by then)─▶ they are stored here
    used ─▶ the stream ends with the message ─▶ answered

Until it is used no message was made of it: when the link is lost, certainly nothing is stored. Then
nobody knows; and it can't be sent again, as its pieces are not here any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dispatcher.core.meeting import Keys
from dispatcher.core.message import Message
from dispatcher.errors import DispatcherError, Refusal, Refused
from dispatcher.peers.forwarding.encoding import Head, encode_keys, encode_without_body
from dispatcher.peers.forwarding.errands import Past, Way
from dispatcher.peers.forwarding.telling import Told
from dispatcher.peers.forwarding.waiting import Awaited, Verdict
from dispatcher.peers.kinds import Kind
from dispatcher.peers.peer import Peer
from dispatcher.peers.streams import Stream
from dispatcher.queue.ports import CHUNK_BYTES, Acceptor, Upload
from dispatcher.queue.refusals import MOVED, NO_VERDICT


class RemoteUpload:
    """Such a body (`ports.Upload`, `streams.Ear`); an errand while it can't be sent."""

    is_keyed = False
    size_bytes = 4 * CHUNK_BYTES
    """What callers write before something is stored, and a piece."""

    def __init__(
        self,
        way: Way,
        head: Head,
        awaited: Awaited,
        on_progress: Callable[[], None],
        keys: Keys = (),
    ) -> None:
        """What `head` says of a partition is the way's to say when it is sent."""
        self.past: Past | None = None
        self._way = way
        self._refusal: Refusal | None = None
        self._here: tuple[Acceptor, Upload] | None = None
        self._head = head
        self._keys = keys
        self._awaited = awaited
        self._on_progress = on_progress
        self._pieces: list[bytes] = []
        self._stream: Stream | None = None
        self._told: Told | None = None
        self._messages: Sequence[Message] = ()
        self._is_given_up = False

    # As an upload.

    @property
    def refusal(self) -> Refusal | None:
        """See `ports.Upload`."""
        return self._refusal if self._here is None else self._here[1].refusal

    @property
    def unstored_bytes(self) -> int:
        """See `ports.Upload`."""
        if self._here is not None:
            return self._here[1].unstored_bytes
        stream = self._stream
        return sum(map(len, self._pieces)) if stream is None else stream.untaken_bytes

    def write(self, chunk: bytes) -> None:
        """See `ports.Upload`."""
        if self.refusal is not None or self._is_given_up:
            return
        if self._here is not None:
            self._here[1].write(chunk)
        elif self._stream is None:
            self._pieces.append(chunk)
        else:
            self._stream.write(chunk)

    def abort(self) -> None:
        """See `ports.Upload`."""
        if self._told is None:
            self._is_given_up = True
            self._pieces.clear()
            if self._here is not None:
                self._here[1].abort()
            elif self._stream is not None:
                self._stream.abort()

    def use(self, told: Told, messages: Sequence[Message]) -> None:
        """The body is whole and belongs to these messages."""
        if self.refusal is not None:
            self.abort()
            told.refused(self.refusal)
            return
        self._told, self._messages = told, messages
        if self._here is not None:
            told.stay(*self._here, self._head.place)
        elif self._stream is not None:
            self._end(self._stream, told)

    def _end(self, stream: Stream, told: Told) -> None:
        first = self._messages[0]
        message = first if first.answer_limit else None
        ear = Verdict(stream, told, self._awaited, message=message, broken=self._unanswered)
        stream.listen(ear)
        head = replace(self._head, waits=message is not None)
        stream.end(head.encode() + encode_without_body(self._messages))

    def _unanswered(self, error: DispatcherError) -> None:
        told, stream = self._told, self._stream
        assert told is not None
        assert stream is not None
        if isinstance(error, Refused):
            told.refused(error.refusal)
        else:
            told.refused(NO_VERDICT if stream.has_ended else MOVED)

    # As an errand.

    @property
    def is_over(self) -> bool:
        """See `errands.Errand`."""
        return self._is_given_up

    def go(self, peer: Peer) -> None:
        """See `errands.Errand`."""
        self._head = replace(self._head, partition=self._way.partition)
        stream = self._stream = peer.open(Kind.ACCEPT_STREAM, self._opening())
        stream.listen(self)
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            stream.write(piece)
        if self._told is not None:
            self._end(stream, self._told)

    def stay(self, intake: Acceptor) -> None:
        """See `errands.Errand`."""
        refusal = intake.refusal()
        if refusal is not None:
            self.refused(refusal)
            return
        upload = self._start(intake)
        self._here = intake, upload
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            upload.write(piece)
        if self._told is not None:
            self._told.stay(intake, upload, self._head.place)

    def _start(self, intake: Acceptor) -> Upload:
        head = self._head
        if not head.is_group:
            return intake.start_upload(self._on_progress, head.place, self._keys)
        return intake.start_uploads(
            self._on_progress,
            copies=head.copies,
            head_bytes=head.head_bytes,
            place=head.place,
            keys=self._keys,
        )

    def _opening(self) -> bytes:
        return self._head.encode() + encode_keys(self._keys)

    def refused(self, refusal: Refusal) -> None:
        """See `errands.Errand`."""
        self._refusal = refusal
        self._pieces.clear()
        if self._told is not None:
            self._told.refused(refusal)
        else:
            self._on_progress()

    # As an ear, until it is used.

    def came(self, data: bytes) -> None:
        """See `streams.Ear`: nothing is said before the end."""
        if self._stream is not None:
            self._stream.take(len(data))

    def ended(self, payload: bytes) -> None:
        """See `streams.Ear`: too early."""
        self.abort()
        self.refused(MOVED)

    def went_on(self) -> None:
        """See `streams.Ear`."""
        self._on_progress()

    def broken(self, error: DispatcherError) -> None:
        """See `streams.Ear`. Of a piece nobody may know: but no message was made of it."""
        refusal = error.refusal if isinstance(error, Refused) else MOVED
        self.refused(MOVED if refusal.is_silent else refusal)
