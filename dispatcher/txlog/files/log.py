"""The file engine as the queue sees it: `Engine` with its threads.

The writer does nothing but pwrite and fdatasync, one batch at a time, and wakes the event loop once
a batch. The housekeeper makes and removes segments, and readers read records back; these all logs
of a process share (`threads`). Opening has a thread of its own while it takes.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from asyncio import wrap_future
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from dispatcher.core.histogram import Histogram
from dispatcher.errors import LogError, LogFailed, LogUnknown
from dispatcher.txlog import SYNC_US, Bounds, Records, Visit, Walk
from dispatcher.txlog.files.cut import Cut, Told, copy_cut
from dispatcher.txlog.files.disk import Disk, RealDisk
from dispatcher.txlog.files.engine import Engine, Prepared
from dispatcher.txlog.files.place import lacking
from dispatcher.txlog.files.recovery import Torn
from dispatcher.txlog.files.segment import Sizes
from dispatcher.txlog.files.threads import HOUSEKEEPER, READERS, Share
from dispatcher.txlog.files.walk import FileWalk

_REAL_DISK: Final = RealDisk()
_SIZES: Final = Sizes()

_Done = asyncio.Future[list[int]]


class FileLog:
    """A partition's log in the segment files of a directory (see FORMAT.md). A `TransactionLog`."""

    def __init__(
        self,
        path: Path,
        disk: Disk = _REAL_DISK,
        *,
        keep_everything: bool = False,
        sizes: Sizes = _SIZES,
    ) -> None:
        """`keep_everything` makes `trim` do nothing; `sizes` are for tests."""
        self._housekeeper = Share(HOUSEKEEPER)
        self._readers = Share(READERS)
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
        self.sync_us = Histogram(SYNC_US)
        self.on_lost: Callable[[LogError], object] | None = None
        self._writer: threading.Thread | None = None
        self._under_way: _Done | None = None
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop

    @property
    def max_batch_bytes(self) -> int:
        return self._engine.sizes.batch

    @property
    def late_since(self) -> None:
        """A disk gives a verdict, however late; the committer measures how late."""

    def room(self) -> bool:
        return self._engine.room()

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
        """`visit` is called on a thread that is there for the opening."""
        self._loop = loop = asyncio.get_running_loop()
        try:
            opening = ThreadPoolExecutor(1, "txlog-opening")
            await loop.run_in_executor(opening, self._start_threads)
        except (OSError, RuntimeError) as error:  # Python's word for a thread that can't be started
            raise lacking(self._path, error) from error
        try:
            bounds = await loop.run_in_executor(opening, self._engine.open, owner, epoch, visit)
        finally:
            opening.shutdown(wait=False)
        self._is_open = True
        return bounds

    def _start_threads(self) -> None:
        """Before the log is opened, so that nothing which is asked of an open log needs one more
        of what the process may lack."""
        if self._bell < 0:
            # An eventfd wakes a thread in half the time that a queue's lock takes.
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        for threads in (self._housekeeper, self._readers):
            threads.start()
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
        return await wrap_future(self._readers.submit(self._engine.read, positions))

    def bounds(self) -> Bounds:
        return self._engine.bounds()

    def walk(self, upto: int) -> Walk:
        self._check_open()
        return _ThreadedWalk(self, self._engine.walk(upto))

    async def read_on(self, walk: FileWalk) -> Records | None:
        """Let a walk go on, on a reader's thread."""
        self._check_open()
        return await wrap_future(self._readers.submit(walk.next))

    async def trim(self, upto: int) -> None:
        """Waits until what could be freed is."""
        self._check_open()
        job = self._engine.trim(upto)
        if job is not None:
            await wrap_future(self._housekeeper.submit(job.result))

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
        self._readers.join()
        self._housekeeper.join()
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
        if not done.cancelled():
            if failure is None:
                done.set_result(positions)
                return
            done.set_exception(failure)
        if isinstance(failure, LogUnknown):
            # Behind the callbacks of `done`, which come in the next turn.
            self._loop.call_soon(self._loop.call_soon, self._tell_lost, failure)

    def _tell_lost(self, error: LogError) -> None:
        tell, self.on_lost = self.on_lost, None
        if tell is not None:
            tell(error)


class _ThreadedWalk:
    """A `Walk`."""

    def __init__(self, log: FileLog, walk: FileWalk) -> None:
        self._log = log
        self._walk = walk

    async def next(self) -> Records | None:
        return await self._log.read_on(self._walk)
