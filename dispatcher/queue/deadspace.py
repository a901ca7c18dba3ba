"""The space of the dead-letter log: what is not needed at its beginning is dropped.

As in the transaction log, the beginning is dropped when nothing in it is needed; and when the log
takes more than twice what is needed, the letters of its oldest stretch are copied to its end first.
A REMOVED record is never needed by itself: it lies behind the letter that it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from dispatcher.queue.compaction import DEAD_END_BYTES, SLACK_BYTES
from dispatcher.queue.extents import Extent, Extents
from dispatcher.queue.letters import Letters
from dispatcher.txlog import TransactionLog

_SLICE = 2000
"""Rows that are looked at before others get their turn: a millisecond."""


class DeadSpace:
    """Trims one log. `look` is called after every batch and is cheap when nothing is to be done.

    `chunks` has the position and size of each chunk record of a large body, by the letter's id;
    `copy` appends a letter again and returns when that is durable; `failed` is told when the log
    could not be read or trimmed: the process must end.
    """

    def __init__(
        self,
        log: TransactionLog,
        letters: Letters,
        chunks: Mapping[bytes, Sequence[tuple[int, int]]],
        copy: Callable[[bytes], Awaitable[None]],
        failed: Callable[[Exception], None],
    ) -> None:
        self._log = log
        self._letters = letters
        self._chunks = chunks
        self._copy = copy
        self._failed = failed
        self._extents = Extents()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.hold = self._extents.hold
        self.release = self._extents.release

    def note(self, position: int, size: int) -> None:
        """Say that a record of `size` bytes was stored at `position`, the highest so far."""
        self._extents.note(position, size)

    def look(self, *, full: bool) -> None:
        """See whether the beginning of the log can be dropped, or should be copied (never while the
        disk is full)."""
        if self._task is not None or self._stopped:
            return
        upto = self._droppable()
        if upto is not None or (not full and self._is_wasteful()):
            self._task = asyncio.get_running_loop().create_task(self._run(upto))
            self._task.add_done_callback(self._done)

    async def stop(self) -> None:
        """End what is under way. Idempotent."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _droppable(self) -> int | None:
        extents = self._extents
        if not extents.current.live and extents.current.filled >= DEAD_END_BYTES:
            extents.cut()
        self._letters.tidy()
        return extents.drop_dead()

    def _is_wasteful(self) -> bool:
        extents = self._extents
        oldest = extents.oldest
        if oldest is extents.current or not oldest.live:
            return False
        return extents.span_bytes > 2 * self._letters.size_bytes + SLACK_BYTES

    async def _run(self, upto: int | None) -> None:
        if upto is not None:
            await self._log.trim(upto)
        while self._is_wasteful():
            for message_id in await self._in(self._extents.oldest):
                await self._copy(message_id)
            upto = self._droppable()
            if upto is None:
                return
            await self._log.trim(upto)

    async def _in(self, extent: Extent) -> list[bytes]:
        """Ids of the letters with a record in an extent. Looks through all of them, in slices; rows
        keep their numbers meanwhile, because nobody else tidies."""
        letters, of = self._letters, self._extents.of
        found: dict[bytes, None] = {}
        for start in range(0, letters.rows, _SLICE):
            for row in range(start, min(start + _SLICE, letters.rows)):
                if letters.is_alive(row) and of(letters.position[row]) is extent:
                    found[letters.id(row)] = None
            await asyncio.sleep(0)
        for message_id, chunks in self._chunks.items():
            if any(of(position) is extent for position, _ in chunks):
                found[message_id] = None
        return list(found)
