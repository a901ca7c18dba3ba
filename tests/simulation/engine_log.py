"""The file engine on a simulated disk, without threads: what it does is done within the loop, and
is the same each time. After a power cut it tells nobody anything any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from dispatcher.core.histogram import Histogram
from dispatcher.errors import LogError, LogUnknown
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.disk import Fate, SimulatedDisk
from dispatcher.testing.loop import SimulatedLoop
from dispatcher.txlog import SYNC_US, Bounds, Records, Visit
from dispatcher.txlog.files.engine import Engine, Prepared
from dispatcher.txlog.files.segment import Sizes
from dispatcher.txlog.files.walk import FileWalk

T = TypeVar("T")

SIZES: Final = Sizes(smallest=1 << 20, largest=2 << 20)


class Power:
    """What a machine runs on until it is cut, at a change of its disk; `at` counts them from 1.
    `after` is the disk as it is found then."""

    def __init__(
        self,
        disk: SimulatedDisk,
        random: Random,
        *,
        at: int | None = None,
        fate: Fate = Fate.CHANCE,
    ) -> None:
        self.disk = disk
        self.after: SimulatedDisk | None = None
        self.changes = 0
        self.when_cut: Callable[[], None] = lambda: None
        self.is_cut = asyncio.Event()
        self._random = random
        self._at = at
        self._fate = fate
        disk.after_change = self._changed

    def _changed(self) -> None:
        self.changes += 1
        if self.changes == self._at:
            self.after = self.disk.crash(self._random, self._fate)
            self.when_cut()
            self.is_cut.set()


class EngineLog:
    """A `TransactionLog`."""

    def __init__(self, path: Path, power: Power, random: Random) -> None:
        self._power = power
        loop = asyncio.get_running_loop()
        self._engine = Engine(
            path,
            power.disk,
            spawn=_at_once,
            sizes=SIZES,
            clock=loop.time,
            random=random.randbytes,
        )
        self.on_lost: Callable[[LogError], object] | None = None
        self.sync_us = Histogram(SYNC_US)
        self._is_open = False
        self._is_busy = False

    @property
    def max_batch_bytes(self) -> int:
        """See the seam."""
        return self._engine.sizes.batch

    @property
    def late_since(self) -> None:
        """See the seam."""

    def room(self) -> bool:
        """See the seam."""
        return self._engine.room()

    @property
    def opening(self) -> tuple[int, int]:
        """See the seam."""
        return self._engine.opening

    @property
    def size_bytes(self) -> int:
        """See the seam."""
        return self._engine.size_bytes

    @property
    def urgent_bytes(self) -> int:
        """See the seam."""
        return self._engine.urgent_bytes

    @property
    def oldest_ends_at(self) -> int | None:
        """See the seam."""
        return self._engine.oldest_ends_at

    async def open(self, owner: str, epoch: int, visit: Visit | None = None) -> Bounds:
        """See the seam."""
        bounds = self._engine.open(owner, epoch, visit)
        await self._unless_cut()
        self._is_open = True
        return bounds

    def append(self, batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
        """See the seam."""
        assert not self._is_busy, "an append is under way"
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[int]] = loop.create_future()
        if self._power.is_cut.is_set():
            return done
        try:
            prepared = self._engine.prepare(batch, urgent=urgent)
        except LogError as error:
            done.set_exception(error)
            return done
        self._is_busy = True
        loop.call_soon(self._write, prepared, done)
        return done

    def _write(self, prepared: Prepared, done: asyncio.Future[list[int]]) -> None:
        failure: LogError | None = None
        if not self._power.is_cut.is_set():
            try:
                self._engine.write(prepared)
            except LogError as error:
                failure = error
        if self._power.is_cut.is_set() or done.cancelled():
            return
        self._is_busy = False
        if failure is None:
            done.set_result(prepared.positions)
        else:
            done.set_exception(failure)

    async def read(self, positions: Sequence[int]) -> list[bytes]:
        """See the seam."""
        if not self._is_open:
            raise LogUnknown("not open")
        await self._unless_cut()
        await asyncio.sleep(0)  # others go on meanwhile
        await self._unless_cut()
        return self._engine.read(positions)

    def bounds(self) -> Bounds:
        """See the seam."""
        return self._engine.bounds()

    def walk(self, upto: int) -> EngineWalk:
        """See the seam."""
        return EngineWalk(self._engine.walk(upto))

    async def trim(self, upto: int) -> None:
        """See the seam."""
        await self._unless_cut()
        self._engine.trim(upto)
        await self._unless_cut()

    async def close(self) -> None:
        """See the seam."""
        if self._is_open and not self._power.is_cut.is_set():
            self._engine.close()
        self._is_open = False

    async def _unless_cut(self) -> None:
        if self._power.is_cut.is_set():
            await asyncio.get_running_loop().create_future()


class EngineWalk:
    """A `Walk`."""

    def __init__(self, walk: FileWalk) -> None:
        self._walk = walk

    async def next(self) -> Records | None:
        """See the seam."""
        await asyncio.sleep(0)
        return self._walk.next()


class _Loop(SimulatedLoop):
    """Does what is given to threads within the loop: time doesn't pass while it is done."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """At once."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def run(main: Callable[[SimulatedClock], Any]) -> Any:
    """Run `main(clock)` to its end; what it leaves behind is ended."""
    clock = SimulatedClock()
    with asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
        return runner.run(main(clock))


def _at_once(work: Callable[[], None]) -> Future[None]:
    done: Future[None] = Future()
    work()
    done.set_result(None)
    return done
