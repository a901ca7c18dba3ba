"""The engine for tests: a log that lives in memory and keeps the same promises, crashes aside.

What it holds is in a `MemoryStore`, which outlives the log as a disk would: open another log on it
to restart.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

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
from dispatcher.txlog import RECORD_OVERHEAD_BYTES, Bounds, Visit
from dispatcher.txlog.records import one_record

_MAX_BATCH_BYTES = 512 * 1024
_URGENT_BYTES = 16 * 1024 * 1024
_START = 4096


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
    (LogBusy), `failure` is raised by every append from then on, and while `gate` is clear an append
    waits for it.
    """

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = MemoryStore() if store is None else store
        self.full = False
        self.lacking = False
        self.failure: LogError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._epoch: int | None = None
        self._busy = False

    @property
    def max_batch_bytes(self) -> int:
        return _MAX_BATCH_BYTES

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
        return self._store(batch, urgent)

    def _store(self, batch: Sequence[bytes], urgent: bool) -> list[int]:
        self._check_open()
        if sum(map(len, batch)) + RECORD_OVERHEAD_BYTES * len(batch) > _MAX_BATCH_BYTES:
            raise BatchTooLarge(f"{_MAX_BATCH_BYTES} bytes are the most: append it in parts")
        if self.failure is not None:
            raise self.failure
        self._check_lacking()
        if self.full and not urgent:
            raise LogUnavailable("no space left")
        positions = []
        for payload in batch:
            positions.append(self.store.end)
            self.store.records.append((self.store.end, bytes(payload)))
            self.store.end += len(payload) + RECORD_OVERHEAD_BYTES
        return positions

    async def read(self, positions: Sequence[int]) -> list[bytes]:
        self._check_open()
        self._check_lacking()
        return [self._read(position) for position in positions]

    def _read(self, position: int) -> bytes:
        self._check_kept(position)
        records = self.store.records
        index = bisect.bisect_left(records, position, key=lambda record: record[0])
        if index == len(records) or records[index][0] != position:
            raise LogCorrupt("memory", position, "there is no intact record here")
        return records[index][1]

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
