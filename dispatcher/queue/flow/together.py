"""Messages that are stored together or not at all: those of a request to a group.

accept_all ─▶ (copies of a large body) ─▶ one unit ─▶ stored: all named, one receipt, all admitted

A unit lies in one batch of the log, so a crash leaves all of its messages or none. A batch is
small. So where one body for each message is too much for it, the bodies go into chunk records
first, as those of large bodies do, however small they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.queue.bodies.copied import CopiedUpload
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.flow.duplicates import Duplicates, FirstOfGroup
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.ports import CHUNK_BYTES, GroupReceipt, Upload
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import GROUP_TOO_LARGE

Name = Callable[[Message, int], None]
Admit = Callable[[Message, int], None]


class Together:
    """The part of `Intake` that stores several messages at once; what it is given is its."""

    __slots__ = (
        "_admit",
        "_backlog_refusal",
        "_committer",
        "_duplicates",
        "_name",
        "_payload_of",
        "_pending",
    )

    def __init__(
        self,
        committer: Committer,
        pending: Pending,
        *,
        payload_of: Callable[[Message], bytes],
        name: Name,
        admit: Admit,
        backlog_refusal: Callable[[], Refusal | None],
        duplicates: Duplicates,
    ) -> None:
        self._committer = committer
        self._pending = pending
        self._name = name
        self._admit = admit
        self._backlog_refusal = backlog_refusal
        self._duplicates = duplicates
        self._payload_of = payload_of

    def start_upload(
        self, on_progress: Callable[[], None], *, copies: int, head_bytes: int
    ) -> CopiedUpload:
        """Begin a large body (`ports.Acceptor.start_uploads`)."""
        return CopiedUpload(
            self._committer,
            self._pending,
            on_progress,
            copies=copies,
            head_bytes=head_bytes,
            refuse=self._backlog_refusal,
        )

    def accept(
        self, messages: Sequence[Message], receipt: GroupReceipt, upload: Upload | None
    ) -> None:
        """Store messages (`ports.Acceptor.accept_all`)."""
        terms = messages[0].terms
        if terms is not None and terms.key_place:
            first = self._duplicates.first_of_group(terms, receipt, upload)
            if first is None:
                return
            receipt = first
        if upload is not None:
            assert isinstance(upload, CopiedUpload)
            self._use(messages, receipt, upload)
            return
        room = self._committer.most_bytes
        for message in messages:
            room -= len(message.head) + len(message.body) + OVERHEAD_BYTES
        if room < 0 and messages[0].body:
            self._spread(messages, receipt)
        else:
            self._submit(messages, receipt, None)

    def _spread(self, messages: Sequence[Message], receipt: GroupReceipt) -> None:
        """Put the bodies into chunk records first."""
        heads = sum(len(message.head) for message in messages)
        upload = self.start_upload(_ignore, copies=len(messages), head_bytes=heads)
        body = messages[0].body
        for start in range(0, len(body), CHUNK_BYTES):
            upload.write(body[start : start + CHUNK_BYTES])
        self._use(messages, receipt, upload)

    def _use(
        self, messages: Sequence[Message], receipt: GroupReceipt, upload: CopiedUpload
    ) -> None:
        upload.use(partial(self._uploaded, messages, receipt, upload))

    def _uploaded(
        self, messages: Sequence[Message], receipt: GroupReceipt, upload: CopiedUpload
    ) -> None:
        if upload.refusal is not None:
            upload.let_go()
            receipt.refused(upload.refusal)
            return
        for message, copy in zip(messages, upload.uploads, strict=True):
            message.body = b""
            message.chunks = copy.fixed()
        self._submit(messages, receipt, upload)

    def _submit(
        self, messages: Sequence[Message], receipt: GroupReceipt, upload: CopiedUpload | None
    ) -> None:
        payloads = [self._payload_of(message) for message in messages]
        sizes = [len(payload) + OVERHEAD_BYTES for payload in payloads]
        waiter = _Acceptance(self._name, self._admit, messages, receipt, sizes, upload)
        if sum(sizes) > self._committer.most_bytes:
            waiter.refused(GROUP_TOO_LARGE)
        else:
            self._committer.submit_unit(payloads, waiter, urgent=False)


class _Acceptance:
    """Messages on their way into the log, and the caller who waits for them (`UnitWaiter`)."""

    __slots__ = ("_admit", "_messages", "_name", "_receipt", "_sizes", "_upload")

    def __init__(
        self,
        name: Name,
        admit: Admit,
        messages: Sequence[Message],
        receipt: GroupReceipt,
        sizes: Sequence[int],
        upload: CopiedUpload | None,
    ) -> None:
        self._name = name
        self._admit = admit
        self._messages = messages
        self._receipt = receipt
        self._sizes = sizes
        self._upload = upload

    def stored(self, positions: Sequence[int]) -> None:
        """All records are durable: the messages exist from here on."""
        for message, position in zip(self._messages, positions, strict=True):
            self._name(message, position)
        try:
            self._receipt.accepted_all(self._messages)
        finally:  # they exist, whatever became of the caller
            for message, size in zip(self._messages, self._sizes, strict=True):
                self._admit(message, size)
            if self._upload is not None:
                self._upload.let_go()
            if isinstance(self._receipt, FirstOfGroup):
                self._receipt.admitted(self._messages)

    def refused(self, refusal: Refusal) -> None:
        """None is stored; neither is what was uploaded for them."""
        if self._upload is not None:
            self._upload.let_go()
        self._receipt.refused(refusal)


def _ignore() -> None:
    """Nobody waits for the progress of a body that is whole."""
