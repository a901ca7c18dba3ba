"""The twins of what stands on both sides of the listener: the queue, and a caller's connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from dispatcher.core.meeting import Keys
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.queue.ports import GroupReceipt, Receipt, Upload, Waiter


class MemoryUpload:
    """A large body in memory.

    What was written becomes durable when a test calls `store`, or at once when `at_once` is set.
    """

    def __init__(self, on_progress: Callable[[], None], *, at_once: bool) -> None:
        self._on_progress = on_progress
        self._at_once = at_once
        self._stored = 0
        self.chunks: list[bytes] = []
        self.refusal: Refusal | None = None
        self.is_aborted = False
        self.peak_unstored_bytes = 0

    @property
    def unstored_bytes(self) -> int:
        """Bytes of the chunks that are not durable."""
        return sum(len(chunk) for chunk in self.chunks[self._stored :])

    def write(self, chunk: bytes) -> None:
        """Take one chunk."""
        self.chunks.append(chunk)
        self.peak_unstored_bytes = max(self.peak_unstored_bytes, self.unstored_bytes)
        if self._at_once:
            self.store()

    def store(self) -> None:
        """Make all chunks durable."""
        self._stored = len(self.chunks)
        self._on_progress()

    def refuse(self, refusal: Refusal) -> None:
        """Fail to store them."""
        self.refusal = refusal
        self._on_progress()

    def abort(self) -> None:
        """Remember that the upload was given up."""
        self.is_aborted = True


class MemoryAcceptor:
    """A queue that keeps what it accepts. Messages become durable when a test calls `settle`, or in
    the next turn of the loop when `at_once` is set.

    `awaited` are those who wait for what becomes of a message, by its id.
    `messages` has everything handed over, in order; `bodies` the whole body of each; `refusing`
    is what `refusal` says.
    """

    spreads_keys = False

    def __init__(self, *, at_once: bool = True, upload_at_once: bool = True) -> None:
        self._at_once = at_once
        self._upload_at_once = upload_at_once
        self._pending: deque[tuple[Sequence[Message], Receipt]] = deque()
        self.messages: list[Message] = []
        self.bodies: list[bytes] = []
        self.uploads: list[MemoryUpload] = []
        self.awaited: dict[bytes, Waiter] = {}
        self.refusing: Refusal | None = None

    def refusal(self) -> Refusal | None:
        """What `refusing` says."""
        return self.refusing

    def accept(self, message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        """Keep a message."""
        self._keep([message], receipt, upload)

    def accept_all(
        self,
        messages: Sequence[Message],
        receipt: GroupReceipt,
        upload: Upload | None = None,
        place: bytes = b"",
    ) -> None:
        """Keep the messages of a group. They become durable together, and count as one."""
        self._keep(messages, _ForAll(messages, receipt), upload)

    def _keep(self, messages: Sequence[Message], receipt: Receipt, upload: Upload | None) -> None:
        chunks = upload.chunks if isinstance(upload, MemoryUpload) else []
        self.messages += messages
        self.bodies += [message.body + b"".join(chunks) for message in messages]
        self._pending.append((messages, receipt))
        if self._at_once:
            asyncio.get_running_loop().call_soon(self.settle)

    def start_upload(
        self, on_progress: Callable[[], None], place: bytes = b"", keys: Keys = ()
    ) -> Upload:
        """Begin a large body."""
        upload = MemoryUpload(on_progress, at_once=self._upload_at_once)
        self.uploads.append(upload)
        return upload

    def await_end(self, message: Message, waiter: Waiter) -> None:
        """Remember who waits."""
        self.awaited[message.wire_id] = waiter

    def forget(self, message_id: bytes) -> None:
        """Nobody waits."""
        self.awaited.pop(message_id, None)

    def start_uploads(
        self,
        on_progress: Callable[[], None],
        *,
        copies: int,
        head_bytes: int,
        place: bytes = b"",
        keys: Keys = (),
    ) -> Upload:
        """Begin a large body of several messages, which is kept once."""
        return self.start_upload(on_progress)

    def settle(self, count: int = 1 << 30, *, refusal: Refusal | None = None) -> None:
        """Make the oldest messages durable, or refuse them, and say so. Ids count from 1."""
        while self._pending and count > 0:
            count -= 1
            messages, receipt = self._pending.popleft()
            if refusal is not None:
                receipt.refused(refusal)
                continue
            for message in messages:
                message.position = self.messages.index(message) + 1
                message.wire_id = b"%028x" % message.position
            receipt.accepted(messages[0])


class _ForAll:
    """The receipt of a group's messages, told of the first one."""

    def __init__(self, messages: Sequence[Message], receipt: GroupReceipt) -> None:
        self._messages = messages
        self._receipt = receipt

    def accepted(self, message: Message) -> None:
        """All are durable."""
        self._receipt.accepted_all(self._messages)

    def duplicate(self, message_id: bytes) -> None:
        """Nothing was stored; the first answer has these ids, with commas between them."""
        self._receipt.duplicate_all(message_id.split(b","))

    def refused(self, refusal: Refusal) -> None:
        """None was accepted."""
        self._receipt.refused(refusal)


class MemoryTransport(asyncio.Transport):
    """A caller's connection without a network: `written` is what the caller was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_reading_paused = False
        self.is_eof_written = False
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send to the caller."""
        assert not self.is_eof_written, "nothing can be written after write_eof"
        if not self._is_closing:
            self.written += data

    def write_eof(self) -> None:
        """End what is sent."""
        assert not self._is_closing, "uvloop raises when the transport is closed already"
        self.is_eof_written = True

    def pause_reading(self) -> None:
        """Stop delivering data."""
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        """Deliver data again."""
        self.is_reading_paused = False

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called."""
        return self._is_closing

    def close(self) -> None:
        """Close."""
        self._is_closing = True

    def abort(self) -> None:
        """Close."""
        self._is_closing = True
