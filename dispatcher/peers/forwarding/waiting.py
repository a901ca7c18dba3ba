"""A message that was given to another process in a stream, and whose answer is awaited: and then,
where its caller wants to know that, what becomes of it.

What is in memory of the destination's answer is bounded over there until it was sent; here there is
one at most for each connection of a caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dispatcher.core.message import Message
from dispatcher.errors import DispatcherError, Refusal
from dispatcher.peers.errors import Failed
from dispatcher.peers.forwarding.encoding import STORED, Head, read_outcome
from dispatcher.peers.forwarding.errands import Past, Way, take
from dispatcher.peers.forwarding.telling import One, Told
from dispatcher.peers.kinds import Kind
from dispatcher.peers.peer import Peer
from dispatcher.peers.streams import Stream
from dispatcher.queue.ports import Acceptor, Receipt, Waiter
from dispatcher.queue.records.messages import encode_message


class Awaited(Protocol):
    """Where those are noted that somebody waits for (`remote`)."""

    def note(self, message_id: bytes, verdict: Verdict) -> None:
        """Somebody may wait for this message."""

    def forget(self, message_id: bytes) -> bool:
        """Nobody waits for it any more; return whether anybody might have."""


class Verdict:
    """The ear of such a stream (`streams.Ear`). `waiter` is who waits for the outcome."""

    __slots__ = ("_awaited", "_broken", "_id", "_message", "_stream", "_told", "waiter")

    def __init__(
        self,
        stream: Stream,
        told: Told,
        awaited: Awaited,
        *,
        message: Message | None,
        broken: Callable[[DispatcherError], None],
    ) -> None:
        """`message` is the one whose outcome is awaited, if any is; `broken` is called when there
        is no answer."""
        self._stream = stream
        self._told: Told | None = told
        self._awaited = awaited
        self._message = message
        self._broken = broken
        self._id = b""
        self.waiter: Waiter | None = None

    def came(self, data: bytes) -> None:
        """See `streams.Ear`: the answer."""
        self._stream.take(len(data))
        told, self._told = self._told, None
        message = self._message
        if told is None or message is None:
            if told is not None:
                told.tell(data)
            return
        if data[:1] != STORED:
            told.tell(data)
            return
        message_id = self._id = data[1:]
        self._awaited.note(message_id, self)
        told.tell(data)
        if self.waiter is None:
            self._awaited.forget(message_id)

    def ended(self, payload: bytes) -> None:
        """See `streams.Ear`: the outcome."""
        if self._told is not None:
            self._broken(Failed("There was no answer."))
            return
        waiter = self.leave()
        if waiter is None:
            return
        try:
            outcome = read_outcome(payload)
        except (KeyError, TypeError, ValueError):  # of a version that says something else
            outcome = None
        if outcome is None:
            waiter.undecided()
        else:
            waiter.ended(outcome.answer, outcome.error)

    def went_on(self) -> None:
        """See `streams.Ear`."""

    def broken(self, error: DispatcherError) -> None:
        """See `streams.Ear`."""
        if self._told is not None:
            self._told = None
            self._broken(error)
            return
        waiter = self.leave()
        if waiter is not None:
            waiter.undecided()

    def leave(self) -> Waiter | None:
        """Nobody waits any more; return who did. Idempotent."""
        waiter, self.waiter = self.waiter, None
        if self._id:
            message_id, self._id = self._id, b""
            self._awaited.forget(message_id)
        self._stream.abort()
        return waiter


class Verdicts:
    """The verdicts of messages that somebody waits for, by their ids (`Awaited`)."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: dict[bytes, Verdict] = {}

    def note(self, message_id: bytes, verdict: Verdict) -> None:
        """See `Awaited`."""
        self._by_id[message_id] = verdict

    def await_end(self, message_id: bytes, waiter: Waiter) -> bool:
        """Tell what becomes of a message; return whether it is one of these."""
        verdict = self._by_id.get(message_id)
        if verdict is not None:
            verdict.waiter = waiter
        return verdict is not None

    def forget(self, message_id: bytes) -> bool:
        """Nobody waits for it any more; return whether it was one of these."""
        verdict = self._by_id.pop(message_id, None)
        if verdict is not None:
            verdict.leave()
        return verdict is not None


class Waited:
    """A small message whose caller waits for what becomes of it (`errands.Errand`)."""

    __slots__ = ("_awaited", "_told", "_way", "past")

    is_over = False

    def __init__(self, way: Way, awaited: Awaited, message: Message, receipt: Receipt) -> None:
        self._way = way
        self._awaited = awaited
        self._told = One(message, receipt)
        self.past: Past | None = None

    @property
    def is_keyed(self) -> bool:
        """See `Errand`."""
        return self._told.is_keyed

    @property
    def size_bytes(self) -> int:
        """See `Errand`."""
        return len(self._told.message.head) + len(self._told.message.body)

    def go(self, peer: Peer) -> None:
        """See `Errand`."""
        message = self._told.message
        head = Head(self._way.partition, waits=True).encode()
        stream = peer.open(Kind.ACCEPT_STREAM, head)
        stream.listen(
            Verdict(stream, self._told, self._awaited, message=message, broken=self._failed)
        )
        stream.end(head + encode_message(message))

    def stay(self, intake: Acceptor) -> None:
        """See `Errand`."""
        take(self, intake, self._told.message, self._told.receipt)

    def refused(self, refusal: Refusal) -> None:
        """See `Errand`."""
        self._told.refused(refusal)

    def _failed(self, error: DispatcherError) -> None:
        self._way.failed(self, error)
