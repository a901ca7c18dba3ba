"""The file engine as the queue sees it: `Engine` with its three threads.

The writer does nothing but pwrite and fdatasync, one batch at a time, and wakes the event loop once
a batch. The housekeeper makes and removes segments. The reader reads single records back.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from dispatcher.core.histogram import Histogram
from dispatcher.errors import LogError, LogFailed, LogUnknown
from dispatcher.txlog import Bounds, Visit
from dispatcher.txlog.cut import Cut, Told, copy_cut
from dispatcher.txlog.disk import Disk, RealDisk
from dispatcher.txlog.engine import Engine, Prepared
from dispatcher.txlog.place import lacking
from dispatcher.txlog.recovery import Torn
from dispatcher.txlog.segment import Sizes

_REAL_DISK: Final = RealDisk()
_SIZES: Final = Sizes()

_Done = asyncio.Future[list[int]]


_SYNC_US = (
    50,
    100,
    200,
    500,
    1000,
    2000,
    5000,
    10_000,
    20_000,
    50_000,
    100_000,
    500_000,
    2_000_000,
)


class FileLog:
    """A partition's log in the segment files of a directory (see FORMAT.md). A `TransactionLog`.

    `sync_us` counts how many microseconds batches took to be written and synced.
    """

    def __init__(
        self,
        path: Path,
        disk: Disk = _REAL_DISK,
        *,
        keep_everything: bool = False,
        sizes: Sizes = _SIZES,
    ) -> None:
        """`keep_everything` makes `trim` do nothing; `sizes` are for tests."""
        self._housekeeper = ThreadPoolExecutor(1, "txlog-housekeeper")
        self._reader = ThreadPoolExecutor(1, "txlog-reader")
        self._work: deque[tuple[Prepared, _Done] | None] = deque()
        self._bell = -1
        self._path = path
        self._engine = Engine(
            path,
            disk,
            spawn=self._housekeeper.submit,
            sizes=sizes,
            keep_everything=keep_everything,
        )
        self.sync_us = Histogram(_SYNC_US)
        self._writer: threading.Thread | None = None
        self._under_way: _Done | None = None
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop

    @property
    def max_batch_bytes(self) -> int:
        return self._engine.sizes.batch

    @property
    def opening(self) -> tuple[int, int]:
        return self._engine.opening

    @property
    def size_bytes(self) -> int:
        return self._engine.size_bytes

    @property
    def urgent_bytes(self) -> int:
        return self._engine.urgent_bytes

    @property
    def oldest_ends_at(self) -> int | None:
        return self._engine.oldest_ends_at

    @property
    def torn(self) -> Torn | None:
        """The torn tail that `open` cut off and kept aside, if there was one."""
        return self._engine.torn

    async def open(self, owner: str, epoch: int, visit: Visit | None = None) -> Bounds:
        """`visit` is called on the housekeeper's thread."""
        self._loop = loop = asyncio.get_running_loop()
        try:
            await self._start_threads(loop)
        except (OSError, RuntimeError) as error:  # Python's word for a thread that can't be started
            raise lacking(self._path, error) from error
        bounds = await loop.run_in_executor(
            self._housekeeper, self._engine.open, owner, epoch, visit
        )
        self._is_open = True
        return bounds

    async def _start_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before the log is opened, so that nothing which is asked of an open log needs one more
        of what the process may lack."""
        if self._bell < 0:
            # An eventfd wakes a thread in half the time that a queue's lock takes.
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        for executor in (self._housekeeper, self._reader):
            await loop.run_in_executor(executor, _nothing)
        if self._writer is None:
            writer = threading.Thread(target=self._write, name="txlog-writer", daemon=True)
            writer.start()
            self._writer = writer

    def append(self, batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
        if self._under_way is not None:
            raise RuntimeError("an append is under way: batches are appended one at a time")
        done: _Done = self._loop.create_future()
        try:
            self._check_open()
            prepared = self._engine.prepare(batch, urgent=urgent)
        except LogError as error:
            done.set_exception(error)
            return done
        if not batch:
            done.set_result([])
            return done
        self._under_way = done
        self._work.append((prepared, done))
        os.eventfd_write(self._bell, 1)
        return done

    async def read(self, positions: Sequence[int]) -> list[bytes]:
        self._check_open()
        return await self._loop.run_in_executor(self._reader, self._engine.read, positions)

    async def trim(self, upto: int) -> None:
        """Waits until what could be freed is."""
        self._check_open()
        job = self._engine.trim(upto)
        if job is not None:
            await self._loop.run_in_executor(self._housekeeper, job.result)

    def cut(self) -> Cut:
        """Name the log as it is now, to be copied with `copy_to`, and keep what belongs to it until
        `let_go`. All that an append returned for before is in it.

        Raises LogUnknown. RuntimeError: one cut at a time.
        """
        self._check_open()
        return self._engine.cut()

    async def copy_to(self, target: Path, cut: Cut, told: Told) -> None:
        """Copy the log as it was at the cut into the new directory `target`; see `copy_cut`."""
        await copy_cut(
            self._path, cut, target, told=told, is_broken=lambda: not self._engine.is_cut()
        )

    def let_go(self) -> None:
        """The cut is not needed any more. Idempotent."""
        if self._is_open:
            self._engine.let_go()

    async def close(self) -> None:
        """A write under way is waited for, so that its fate is known."""
        self._is_open = False
        if self._under_way is not None:
            await asyncio.wait([self._under_way])
        await asyncio.to_thread(self._close)

    def _check_open(self) -> None:
        if not self._is_open:
            raise LogUnknown(f"{self._path}: the log is not open")

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            self._work.append(None)
            os.eventfd_write(self._bell, 1)
            writer.join()
        self._reader.shutdown()
        self._housekeeper.shutdown()
        self._engine.close()
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1

    def _write(self) -> None:
        """The writer's thread. One wake-up of the loop for each batch."""
        take, write, wake = self._work.popleft, self._engine.write, self._loop.call_soon_threadsafe
        bell, wait, clock = self._bell, os.eventfd_read, time.perf_counter_ns
        while wait(bell) and (work := take()) is not None:
            prepared, done = work
            failure: LogError | None = None
            began = clock()
            try:
                write(prepared)
            except LogError as error:
                failure = error
            except BaseException as error:  # the thread must never leave an append waiting
                failure = LogFailed(f"the log's writer failed: {error!r}")
                failure.__cause__ = error
            wake(self._finish, done, prepared.positions, failure, (clock() - began) // 1000)

    def _finish(
        self, done: _Done, positions: list[int], failure: LogError | None, took_us: int
    ) -> None:
        self._under_way = None
        self.sync_us.observe(took_us)
        if done.cancelled():
            return
        if failure is None:
            done.set_result(positions)
        else:
            done.set_exception(failure)


def _nothing() -> None:
    """What a thread does first, for it to be there."""
