"""A transaction log in memory whose disk fails, fills up, is slow and crashes as it is told.

Unlike an engine it is made to misbehave on purpose; what it promises is the seam's
(`dispatcher.txlog.TransactionLog`). A crash keeps what `append` returned for, and the batch under
way if the test says so; it leaves a new object, as the process that opens the log next has one, and
the old one does nothing any more, however long its owner goes on.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import Enum

from dispatcher.core.histogram import Histogram
from dispatcher.errors import BatchTooLarge, LogError, LogFailed, LogTrimmed, LogUnavailable
from dispatcher.txlog import RECORD_OVERHEAD_BYTES, SYNC_US, Bounds, Records, Visit
from dispatcher.txlog.records import one_record

_SEGMENT = 1 << 32
_URGENT_BYTES = 16 * 1024 * 1024


class Space(Enum):
    """How much the disk has left."""

    ENOUGH = "enough"
    RESERVE = "for urgent records only"
    NOTHING = "for nothing"


class FaultyLog:
    """`space`, `broken`, `append_s` and `read_s` may be changed at any time.

    `capacity_bytes`  what all records that are still there may take, a quarter of it for urgent
                  ones only: trimming gives space. None: no limit but `space`.
    `broken`      the next append raises LogFailed; its batch is stored if `stores_when_broken`.
    `append_s`    seconds that an append takes, `read_s` a read.
    `segment_bytes`   what was trimmed goes away only by so many bytes at once, as with files.
    `appended`    batches that were stored, in order.
    """

    def __init__(self, *, max_batch_bytes: int = 512 * 1024, segment_bytes: int = 1) -> None:
        self.space = Space.ENOUGH
        self.capacity_bytes: int | None = None
        self.broken = False
        self.stores_when_broken = False
        self.append_s = 0.0
        self.read_s = 0.0
        self.reads = 0
        self.records_read = 0
        self.appended: list[list[bytes]] = []
        self.on_lost: Callable[[LogError], object] | None = None
        self._max_batch_bytes = max_batch_bytes
        self._segment_bytes = segment_bytes
        self._positions: list[int] = []
        self._payloads: dict[int, bytes] = {}
        self._next = 1
        self._trim_at = 0
        self.sync_us = Histogram(SYNC_US)
        self._under_way: list[bytes] | None = None
        self._done: asyncio.Future[list[int]] | None = None
        self._is_gone = False

    @property
    def is_busy(self) -> bool:
        """A batch is under way."""
        return self._under_way is not None

    @property
    def max_batch_bytes(self) -> int:
        """See the seam."""
        return self._max_batch_bytes

    @property
    def late_since(self) -> None:
        """See the seam."""

    def room(self) -> bool:
        """See the seam."""
        return self._room_bytes(urgent=False) >= self._max_batch_bytes

    @property
    def opening(self) -> tuple[int, int]:
        """See the seam."""
        return (self.size_bytes, self.size_bytes)

    @property
    def size_bytes(self) -> int:
        """What the records that are still there take."""
        return sum(len(payload) + RECORD_OVERHEAD_BYTES for payload in self._payloads.values())

    @property
    def urgent_bytes(self) -> int:
        """See the seam."""
        return self._room_bytes(urgent=True)

    @property
    def oldest_ends_at(self) -> int | None:
        """See the seam."""
        return None

    def _room_bytes(self, *, urgent: bool) -> int:
        if self.space is Space.NOTHING or (self.space is Space.RESERVE and not urgent):
            return 0
        if self.capacity_bytes is None:
            return _URGENT_BYTES
        kept_back = 0 if urgent else self.capacity_bytes // 4
        return max(0, self.capacity_bytes - self.size_bytes - kept_back)

    @property
    def records(self) -> list[tuple[int, bytes]]:
        """Position and payload of all records that are still there, in order."""
        return [(position, self._payloads[position]) for position in self._positions]

    async def open(self, owner: str, epoch: int, visit: Visit | None = None) -> Bounds:
        """See the seam."""
        if visit is not None:
            for position in self._positions:
                visit(one_record(position, self._payloads[position]))
        # A start begins a new segment.
        self._next = (self._next // _SEGMENT + 1) * _SEGMENT
        return Bounds(self._positions[0] if self._positions else self._next, self._next)

    def append(self, batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
        """See the seam. After a crash the future of the batch under way never comes."""
        if self._under_way is not None:
            raise RuntimeError("an append is under way")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[int]] = loop.create_future()
        if not batch or sum(len(p) + RECORD_OVERHEAD_BYTES for p in batch) > self._max_batch_bytes:
            done.set_exception(BatchTooLarge(f"{len(batch)} records"))
            return done
        self._under_way = list(batch)
        self._done = done
        loop.call_later(self.append_s, self._finish, done, urgent)
        return done

    def _finish(self, done: asyncio.Future[list[int]], urgent: bool) -> None:
        if self._is_gone:
            return
        batch, self._under_way = self._under_way, None
        assert batch is not None
        size = sum(len(payload) + RECORD_OVERHEAD_BYTES for payload in batch)
        if self.broken:
            if self.stores_when_broken:
                self._store(batch)
            done.set_exception(LogFailed("the sync failed"))
        elif self._room_bytes(urgent=urgent) < size:
            done.set_exception(LogUnavailable("no space left"))
        else:
            done.set_result(self._store(batch))

    def _store(self, batch: Sequence[bytes]) -> list[int]:
        positions = []
        for payload in batch:
            positions.append(self._next)
            self._positions.append(self._next)
            self._payloads[self._next] = payload
            self._next += len(payload) + RECORD_OVERHEAD_BYTES
        self.appended.append(list(batch))
        self._drop()
        return positions

    async def read(self, positions: Sequence[int]) -> list[bytes]:
        """See the seam."""
        self.reads += 1
        self.records_read += len(positions)
        await asyncio.sleep(self.read_s)
        for position in positions:
            if position not in self._payloads:
                raise LogTrimmed(f"nothing at {position}")
        return [self._payloads[position] for position in positions]

    def bounds(self) -> Bounds:
        """See the seam."""
        return Bounds(self._positions[0] if self._positions else self._next, self._next)

    def walk(self, upto: int) -> FaultyWalk:
        """See the seam."""
        return FaultyWalk(self, self.bounds().first, upto)

    async def trim(self, upto: int) -> None:
        """See the seam."""
        await asyncio.sleep(0)
        if not self._is_gone:
            self._trim_at = max(self._trim_at, upto)
            self._drop()

    def _drop(self) -> None:
        count = bisect_left(self._positions, self._trim_at)
        gone = self._positions[:count]
        if sum(len(self._payloads[position]) + RECORD_OVERHEAD_BYTES for position in gone) < (
            self._segment_bytes
        ):
            return
        del self._positions[:count]
        for position in gone:
            del self._payloads[position]

    def crash(self, *, keep_batch: bool = False) -> FaultyLog:
        """End the process: what is under way is stored or not, and nobody is told.

        Returns what the next process finds. Its disk is neither full nor slow.
        """
        if self._under_way is not None and keep_batch and self.space is Space.ENOUGH:
            self._store(self._under_way)
        self._is_gone = True
        heir = FaultyLog(max_batch_bytes=self._max_batch_bytes, segment_bytes=self._segment_bytes)
        heir._positions = list(self._positions)
        heir._payloads = dict(self._payloads)
        heir._next = self._next
        return heir

    async def close(self) -> None:
        """See the seam."""
        if self._under_way is not None and self._done is not None and not self._is_gone:
            await asyncio.wait([self._done])


class FaultyWalk:
    """A `Walk`: a record at a time."""

    def __init__(self, log: FaultyLog, position: int, upto: int) -> None:
        self._log = log
        self._position = position
        self._upto = upto

    async def next(self) -> Records | None:
        """See the seam."""
        await asyncio.sleep(self._log.read_s)
        positions = self._log._positions
        if self._position < min(self._upto, self._log.bounds().first):
            raise LogTrimmed(f"nothing at {self._position}")
        index = bisect_left(positions, self._position)
        if index == len(positions) or positions[index] >= self._upto:
            return None
        payload = self._log._payloads[positions[index]]
        self._position = positions[index] + len(payload) + RECORD_OVERHEAD_BYTES
        return one_record(positions[index], payload)
