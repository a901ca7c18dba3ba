"""The engine for tests: a log that lives in memory and keeps the same promises, crashes aside.

What it holds is in a `MemoryStore`, which outlives the log as a disk would: open another log on it
to restart.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dispatcher.core.histogram import Histogram
from dispatcher.errors import (
    BatchTooLarge,
    LogBusy,
    LogCorrupt,
    LogError,
    LogFenced,
    LogTrimmed,
    LogUnavailable,
    LogUnknown,
)
from dispatcher.txlog import RECORD_OVERHEAD_BYTES, SYNC_US, Bounds, Records, Visit, Walk
from dispatcher.txlog.records import one_record, records_of

_MAX_BATCH_BYTES = 512 * 1024
_URGENT_BYTES = 16 * 1024 * 1024
_START = 4096
_TOGETHER = 16
"""Records that a walk finds at once."""


@dataclass(slots=True)
class MemoryStore:
    """What a restart finds. `records` are (position, payload) in order."""

    records: list[tuple[int, bytes]] = field(default_factory=list)
    first: int = _START
    end: int = _START
    owner: str = ""
    epoch: int = -1


class MemoryLog:
    """A `TransactionLog` in memory.

    Tests steer it: `full` refuses what is not urgent (LogUnavailable), `lacking` everything
    (LogBusy), `failure` is raised by every append from then on, of which the first is stored all
    the same where `stores_failed` says so, and while `gate` is clear an append waits for it. A read
    of a position in `damaged` raises LogCorrupt. `lose` has the log find out by itself that it is
    lost.
    """

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = MemoryStore() if store is None else store
        self.sync_us = Histogram(SYNC_US)
        self.full = False
        self.lacking = False
        self.failure: LogError | None = None
        self.stores_failed = False
        self.damaged: set[int] = set()
        self.on_lost: Callable[[LogError], object] | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._epoch: int | None = None
        self._busy = False
        self._late_since: float | None = None

    @property
    def max_batch_bytes(self) -> int:
        return _MAX_BATCH_BYTES

    @property
    def late_since(self) -> float | None:
        return self._late_since

    def room(self) -> bool:
        return not (self.full or self.lacking or self.failure is not None)

    @property
    def opening(self) -> tuple[int, int]:
        return (self.size_bytes, self.size_bytes)

    @property
    def size_bytes(self) -> int:
        return sum(len(payload) + RECORD_OVERHEAD_BYTES for _, payload in self.store.records)

    @property
    def urgent_bytes(self) -> int:
        return _URGENT_BYTES

    @property
    def oldest_ends_at(self) -> int | None:
        return None

    async def open(self, owner: str, epoch: int, visit: Visit | None = None) -> Bounds:
        store = self.store
        if epoch < store.epoch:
            raise LogFenced(f"{store.owner} has opened the log with epoch {store.epoch}")
        store.owner, store.epoch, self._epoch = owner, epoch, epoch
        if visit is not None:
            for position, payload in store.records:
                visit(one_record(position, payload))
        return Bounds(store.first, store.end)

    def append(self, batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
        if self._busy:
            raise RuntimeError("an append is under way: batches are appended one at a time")
        if not self.gate.is_set():
            self._busy = True
            self._late_since = asyncio.get_running_loop().time()
            return asyncio.ensure_future(self._append_later(batch, urgent))
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        try:
            done.set_result(self._store(batch, urgent))
        except LogError as error:
            done.set_exception(error)
        return done

    async def _append_later(self, batch: Sequence[bytes], urgent: bool) -> list[int]:
        try:
            await self.gate.wait()
        finally:
            self._busy = False
            self._late_since = None
        return self._store(batch, urgent)

    def _store(self, batch: Sequence[bytes], urgent: bool) -> list[int]:
        self._check_open()
        if sum(map(len, batch)) + RECORD_OVERHEAD_BYTES * len(batch) > _MAX_BATCH_BYTES:
            raise BatchTooLarge(f"{_MAX_BATCH_BYTES} bytes are the most: append it in parts")
        if self.failure is not None:
            if self.stores_failed:
                self.stores_failed = False
                self._put(batch)
            self.lose(self.failure)
            raise self.failure
        self._check_lacking()
        if self.full and not urgent:
            raise LogUnavailable("no space left")
        return self._put(batch)

    def lose(self, error: LogError) -> None:
        """Find out that nothing can be stored any more, also while nobody appends. Told once."""
        self.failure = error
        if isinstance(error, LogUnknown | LogFenced):
            # Behind the callbacks of an append that finds it out.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._tell_lost, error)

    def _tell_lost(self, error: LogError) -> None:
        tell, self.on_lost = self.on_lost, None
        if tell is not None:
            tell(error)

    def _put(self, batch: Sequence[bytes]) -> list[int]:
        positions = []
        for payload in batch:
            positions.append(self.store.end)
            self.store.records.append((self.store.end, bytes(payload)))
            self.store.end += len(payload) + RECORD_OVERHEAD_BYTES
        return positions

    async def read(self, positions: Sequence[int]) -> list[bytes]:
        if self._epoch is None:
            raise LogUnknown("the log is not open")
        self._check_lacking()
        return [self._read(position) for position in positions]

    def _read(self, position: int) -> bytes:
        self._check_kept(position)
        records = self.store.records
        index = bisect.bisect_left(records, position, key=lambda record: record[0])
        is_there = index < len(records) and records[index][0] == position
        if not is_there or position in self.damaged:
            raise LogCorrupt("memory", position, "there is no intact record here")
        return records[index][1]

    def bounds(self) -> Bounds:
        return Bounds(self.store.first, self.store.end)

    def walk(self, upto: int) -> Walk:
        self._check_open()
        return _MemoryWalk(self, self.store.first, upto)

    def following(self, position: int, upto: int) -> list[tuple[int, bytes]]:
        """The next few records before `upto`, from a position on."""
        self._check_open()
        self._check_lacking()
        if position < upto:
            self._check_kept(position)
        records = self.store.records
        index = bisect.bisect_left(records, position, key=lambda record: record[0])
        return [one for one in records[index : index + _TOGETHER] if one[0] < upto]

    async def trim(self, upto: int) -> None:
        self._check_open()
        store = self.store
        store.first = max(store.first, min(upto, store.end))
        store.records[:] = [record for record in store.records if record[0] >= store.first]

    async def close(self) -> None:
        self._epoch = None

    def _check_open(self) -> None:
        if self._epoch is None:
            raise LogUnknown("the log is not open")
        if self._epoch < self.store.epoch:
            raise LogFenced(f"{self.store.owner} has opened the log with epoch {self.store.epoch}")

    def _check_lacking(self) -> None:
        if self.lacking:
            raise LogBusy("no memory for the moment")

    def _check_kept(self, position: int) -> None:
        if position < self.store.first:
            raise LogTrimmed(f"position {position} was trimmed away")


class _MemoryWalk:
    """A `Walk`."""

    def __init__(self, log: MemoryLog, position: int, upto: int) -> None:
        self._log = log
        self._position = position
        self._upto = upto

    async def next(self) -> Records | None:
        found = self._log.following(self._position, self._upto)
        if not found:
            return None
        last, payload = found[-1]
        self._position = last + len(payload) + RECORD_OVERHEAD_BYTES
        return records_of(found)
