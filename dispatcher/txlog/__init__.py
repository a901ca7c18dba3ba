"""The transaction log: bytes in order, durable. This file is the seam; the engines stand beside it.

`files.FileLog` keeps a partition's log in segment files (the format: `FORMAT.md`),
`memory.MemoryLog` is its twin for tests. Both run the same conformance suite. A log knows records
(bytes), not messages, and nothing above may assume files.

What always holds: the records of one `append` are stored all or not at all; what `append` returned
for is on stable storage; positions grow and are never used for two different records that were both
stored; what goes wrong is a `LogError` (see `dispatcher.errors`), never an OSError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dispatcher.core.histogram import Histogram
from dispatcher.errors import LogError
from dispatcher.txlog.records import Records as Records
from dispatcher.txlog.records import Visit as Visit
from dispatcher.txlog.records import each as each

RECORD_OVERHEAD_BYTES: Final = 32
"""What a record counts beside its payload, in every engine; what it really takes is not more."""

SYNC_US: Final = (
    *(50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 500_000, 2_000_000),
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an open log holds: records at positions from `first` on, all of them below `end`."""

    first: int
    end: int


class Walk(Protocol):
    """A way through a log from its beginning, while it is written."""

    async def next(self) -> Records | None:
        """Return the next records, in order, a few hundred KiB at most where batches are not
        larger; None: there are no more. Verified, and read off the loop.

        Raises LogCorrupt, LogTrimmed (what follows was trimmed away meanwhile), LogUnknown (the log
        is not open), and LogBusy: then the same ones can be asked for again.
        """


class TransactionLog(Protocol):
    """One partition's log. Used from one event loop; `append` one at a time, the rest at any
    time."""

    @property
    def max_batch_bytes(self) -> int:
        """What one `append` may weigh: payload bytes plus `RECORD_OVERHEAD_BYTES` for each
        record."""

    @property
    def size_bytes(self) -> int:
        """Bytes of disk that the log takes now, space made ahead included."""

    @property
    def urgent_bytes(self) -> int:
        """Bytes that urgent records can take, about, when there is no more space to be had than the
        log has now."""

    @property
    def oldest_ends_at(self) -> int | None:
        """What `trim` has to be told, at least, so that it gives something back; None where that
        cannot be said."""

    on_lost: Callable[[LogError], object] | None
    """Told once, on the loop, when this object will never store anything again: LogFenced or
    LogUnknown. An append that finds it out has raised it before, so that whoever waits for it
    hears the verdict; where nothing is being appended nobody else says so. May be set at any
    time."""

    sync_us: Histogram
    """How many microseconds batches took to be stored (bounds: `SYNC_US`)."""

    @property
    def late_since(self) -> float | None:
        """When the batch under way was handed over, by the loop's clock, if the engine had to ask
        for a verdict on it again; None: it did not have to, or its store always gives one."""

    def room(self) -> bool:
        """Say whether the largest batch would be taken, if it is not urgent. Costs no I/O here;
        where there is no room the engine looks for some meanwhile, so ask again. What it says may
        have changed by the next append."""

    @property
    def opening(self) -> tuple[int, int]:
        """How far `open` has come: bytes that were read, of how many; (0, 0) before it knows. May
        be asked for at any time, from any thread, and costs nothing."""

    async def open(self, owner: str, epoch: int, visit: Visit | None = None) -> Bounds:
        """Recover what is stored, fence every lower epoch, and be ready to append.

        `visit` is told every record in order, in the same pass that verifies them; it may be called
        on another thread, but only while this call waits. Raises LogCorrupt (nothing was
        changed), LogLocked, LogFenced (a higher epoch was here), LogUnavailable (no space, or the
        log can't be reached), LogBusy, LogUnknown (a failed write or sync), and ConfigError (the
        place cannot be used).
        """

    def append(self, batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
        """Store the records, all or none, and return their positions, in order, once they are
        durable.

        A future, and not a coroutine: the committer hangs its callback on it, and no task is made
        for a batch. All errors but the first come through it.

        One at a time: a second call while one is under way is a RuntimeError. `urgent` may use the
        space that is kept back for settling while the disk is full. Raises BatchTooLarge, LogBusy
        and LogUnavailable (certainly not stored, may be tried later), LogUnknown (may be stored;
        this object then stores nothing, and if the error is a LogFailed the process must end),
        LogFenced (final). After cancellation the batch may be stored, and the log stays busy until
        it is known.
        """

    async def read(self, positions: Sequence[int]) -> list[bytes]:
        """Return the payloads at these positions, in the order asked for, verified, off the loop.

        Raises LogCorrupt when one is not the position of an intact record, LogTrimmed, LogBusy,
        LogUnknown (the log is not open).
        """

    def bounds(self) -> Bounds:
        """Return what the open log holds now; all of it is durable."""

    def walk(self, upto: int) -> Walk:
        """Begin to read all records before `upto`, which is an end that `bounds` returned. What is
        appended from then on is not read."""

    async def trim(self, upto: int) -> None:
        """Say that no record before `upto` is needed any more. Idempotent; a prefix only, and lazy:
        what it frees may stay readable for a while, and may be visited again at the next open.

        Raises LogUnknown, LogFenced. What is lacking is no error: the engine tries again by itself.
        """

    async def close(self) -> None:
        """Wait for what is under way, let go of the log. Idempotent; raises nothing."""
