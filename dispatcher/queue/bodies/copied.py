"""A large body of several messages on its way in: a copy for each, stored while it arrives.

Each message has chunk records of its own, so that nothing after this knows that they came together:
each is delivered, copied forward, given up and forgotten for itself. The price is that a body takes
as much of the log as there are messages. Sharing the records would save that; but then what holds
them, moves them and reads them while an attempt is under way would have to count their owners.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from dispatcher.errors import Refusal
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import GROUP_TOO_LARGE

_FLYING_BYTES: Final = 2 * CHUNK_BYTES
"""Of chunks that are on their way into the log at once: a batch, however many copies there are."""
_POSITION_BYTES: Final = 8


class CopiedUpload:
    """The body of several messages (`ports.Upload`). `uploads` has one for each, in order.

    `refuse` is asked with each chunk whether there is room for it: there may be hundreds of copies.
    """

    __slots__ = (
        "_chunks",
        "_count",
        "_flying",
        "_head_bytes",
        "_is_used",
        "_most_bytes",
        "_next",
        "_on_progress",
        "_refuse",
        "_then",
        "_waiting_bytes",
        "refusal",
        "uploads",
    )

    def __init__(
        self,
        committer: Committer,
        pending: Pending,
        on_progress: Callable[[], None],
        *,
        copies: int,
        head_bytes: int,
        refuse: Callable[[], Refusal | None],
    ) -> None:
        """`head_bytes` are those of all messages together."""
        self.refusal: Refusal | None = None
        self.uploads = [
            ChunkUpload(committer, pending, self._went_on).let_move() for _ in range(copies)
        ]
        self._most_bytes = committer.most_bytes
        self._head_bytes = head_bytes
        self._on_progress = on_progress
        self._refuse = refuse
        self._chunks: deque[bytes] = deque()  # of the first one some copies are written
        self._waiting_bytes = 0
        self._next = 0  # whose copy of it is next
        self._count = 0
        self._flying: list[ChunkUpload] = []
        self._then: Callable[[], None] | None = None
        self._is_used = False

    @property
    def unstored_bytes(self) -> int:
        """Bytes that are held in memory."""
        return self._waiting_bytes + self._flying_bytes()

    def write(self, chunk: bytes) -> None:
        """Store one chunk of at most `ports.CHUNK_BYTES`, for each message."""
        if self.refusal is not None:
            return
        self._count += 1
        places = _POSITION_BYTES * self._count * len(self.uploads)
        if self._head_bytes + places > self._most_bytes:
            self.refusal = GROUP_TOO_LARGE
        else:
            self.refusal = self._refuse()
        if self.refusal is None:
            self._chunks.append(chunk)
            self._waiting_bytes += len(chunk)
            self._go_on()

    def use(self, then: Callable[[], None]) -> None:
        """The body is whole: `abort` does nothing from here on. Calls `then` once, when every copy
        is durable, or one was refused."""
        self._is_used = True
        self._then = then
        self._look()

    def abort(self) -> None:
        """The messages will not exist. Idempotent."""
        if not self._is_used:
            self.let_go()

    def let_go(self) -> None:
        """Hold the copies no longer: the messages own them now, or nobody. Idempotent."""
        self._chunks.clear()
        self._waiting_bytes = 0
        for upload in self.uploads:
            upload.let_go()

    def _flying_bytes(self) -> int:
        return sum(upload.unstored_bytes for upload in self._flying)

    def _go_on(self) -> None:
        """Write copies, as many as may fly at once."""
        while self._chunks and self.refusal is None and self._flying_bytes() < _FLYING_BYTES:
            upload, chunk = self.uploads[self._next], self._chunks[0]
            self._next += 1
            if self._next == len(self.uploads):
                self._next = 0
                self._chunks.popleft()
                self._waiting_bytes -= len(chunk)
            if upload not in self._flying:
                self._flying.append(upload)
            upload.write(chunk)  # it may be refused before this returns

    def _went_on(self) -> None:
        """A copy of a chunk is durable, or was refused."""
        for upload in self._flying:
            self.refusal = self.refusal or upload.refusal
        self._flying = [upload for upload in self._flying if upload.unstored_bytes]
        self._go_on()
        if self._then is None:
            self._on_progress()
        else:
            self._look()

    def _look(self) -> None:
        then = self._then
        is_over = self.refusal is not None or not (self._chunks or self._flying)
        if then is not None and is_over:
            self._then = None
            then()
