"""Large bodies on their way in: stored in chunk records while they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from dispatcher.errors import Refusal
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.telling import Waiter
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.chunks import encode_chunk
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import MOVED


class ChunkUpload:
    """A body too large to hold (`ports.Upload`): its chunks are stored while it arrives.

    The chunks hold their extents from the moment they are stored until the message owns them or the
    upload is aborted, so that nothing is trimmed away under a slow caller. While he takes his time
    they may be copied forward (`move`), so that he does not hold the beginning of the log. A crash
    in between leaves dead bytes and nothing else.
    """

    __slots__ = (
        "_ended",
        "_held",
        "_is_used",
        "_on_progress",
        "_pending",
        "_submit",
        "_then",
        "positions",
        "refusal",
        "size_bytes",
        "unstored_bytes",
    )

    def __init__(
        self,
        committer: Committer,
        pending: Pending,
        on_progress: Callable[[], None],
        *,
        is_copy: bool = False,
        is_urgent: bool = False,
    ) -> None:
        """`is_copy`: of a body that is stored already, to give the beginning of the log back;
        `is_urgent`: it must get there. Neither starts a batch."""
        self.refusal: Refusal | None = None
        self.unstored_bytes = 0
        self.size_bytes = 0
        self.positions: list[int] = []
        self._held: list[tuple[int, int]] = []
        self._submit: Callable[[bytes, Waiter], None] = committer.submit
        if is_copy or is_urgent:
            self._submit = committer.copies.submit if is_copy else committer.submit_urgent
        self._pending = pending
        self._on_progress = on_progress
        self._then: Callable[[], None] | None = None
        self._ended = False
        self._is_used = False

    def write(self, chunk: bytes) -> None:
        """Store one chunk of at most `ports.CHUNK_BYTES`."""
        self.unstored_bytes += len(chunk)
        self.size_bytes += len(chunk)
        self._submit(encode_chunk(chunk), _StoredChunk(self, len(chunk)))

    def store(self, chunk: bytes) -> asyncio.Future[None]:
        """Store one chunk, for code that awaits: the future is done when it is durable, or was
        refused."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.write(chunk)
        self.when_stored(partial(_set_done, stored))
        return stored

    def chunk_stored(self, position: int, size: int) -> None:
        """A chunk is durable at `position`."""
        self.unstored_bytes -= size
        held = size + OVERHEAD_BYTES
        extents = self._pending.extents
        extents.note(position, held)
        if self._ended:
            return
        extents.hold(position, held, self)
        self._pending.uploading_bytes += held
        self._held.append((position, held))
        self.positions.append(position)
        self._progress()

    def chunk_refused(self, refusal: Refusal, size: int) -> None:
        """A chunk could not be stored: the body has a hole, so the upload is over."""
        self.unstored_bytes -= size
        if self.refusal is None:
            # Of a chunk nobody may know: but no message was made of it, and that is known.
            self.refusal = MOVED if refusal.is_silent else refusal
        if not self._ended:
            self._progress()

    def _progress(self) -> None:
        if self._then is None:
            self._on_progress()
        elif not self.unstored_bytes or self.refusal is not None:
            then, self._then = self._then, None
            then()

    def let_move(self) -> ChunkUpload:
        """Let its chunks be copied forward until they are `fixed`, or let go."""
        self._pending.uploads.add(self)
        return self

    def fixed(self) -> tuple[int, ...]:
        """The positions of all chunks, which do not change any more."""
        self._pending.uploads.discard(self)
        return tuple(self.positions)

    def move(self, position: int, to: int) -> None:
        """The chunk at `position` was copied, durably, to the record at `to`. Nothing happens when
        its positions do not change any more: the copy is dead bytes then."""
        if self in self._pending.uploads:
            at = self.positions.index(position)
            _, held = self._held[at]
            self._pending.extents.release(position, held, self)
            self._pending.extents.hold(to, held, self)
            self.positions[at] = to
            self._held[at] = (to, held)

    def use(self, then: Callable[[], None]) -> None:
        """The body is whole and belongs to a message now: `abort` does nothing from here on. Calls
        `then` once, when every chunk is durable, or one was refused."""
        self._is_used = True
        self.when_stored(then)

    def when_stored(self, then: Callable[[], None]) -> None:
        """Call `then` once: when every chunk is durable, or one was refused."""
        if not self.unstored_bytes or self.refusal is not None:
            then()
        else:
            self._then = then

    def abort(self) -> None:
        """The message will not exist."""
        if not self._is_used:
            self._then = None
            self.let_go()

    def let_go(self) -> None:
        """Hold the chunks no longer: the message owns them now, or nobody. Idempotent."""
        self._ended = True
        self._pending.uploads.discard(self)
        held, self._held = self._held, []
        for position, size in held:
            self._pending.extents.release(position, size, self)
            self._pending.uploading_bytes -= size


class _StoredChunk:
    """One chunk on its way into the log."""

    __slots__ = ("_size", "_upload")

    def __init__(self, upload: ChunkUpload, size: int) -> None:
        self._upload = upload
        self._size = size

    def stored(self, position: int) -> None:
        """The chunk is durable; whether it is needed is the upload's to say."""
        self._upload.chunk_stored(position, self._size)

    def refused(self, refusal: Refusal) -> None:
        """The chunk is not stored, and the upload is lost with it."""
        self._upload.chunk_refused(refusal, self._size)


def _set_done(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
