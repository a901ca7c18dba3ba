"""The partitions that this process has: opened, lost and closed one by one, while the others go on.

    open ─▶ (begin) start, routed ─▶ lost: out of the router, attempts dropped, callers told, closed
                                 └─▶ close: out of the router, drained, written down, closed

What belongs to the process (the pool, `Traffic`, the router) is given to it and outlives all of
them. Whoever loses a partition says why and keeps nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, Protocol

from dispatcher.delivery.pool import Pool
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.partition import Partition
from dispatcher.telemetry.supervisor import Died, Supervisor

AT_ONCE: Final = 4
"""Logs that are read at the same time: each takes a thread and a part of the loop."""

Lost = Callable[[Exception], None]


class Routes(Protocol):
    """Who has to know which partitions accept messages: the router, where there are several."""

    def add(self, number: int, intake: Intake) -> None:
        """A partition accepts messages from now on."""

    def remove(self, number: int) -> None:
        """It does not any more. Idempotent."""


class Make(Protocol):
    """Makes a partition that is not open yet."""

    def __call__(self, number: int, lost: Lost) -> Partition:
        """Partition `number` of this process; `lost` is for it."""


class Members(Protocol):
    """Who has to know which partitions are here, whether they accept messages or not."""

    def add(self, part: Partition) -> None:
        """It is open, and not started yet."""

    def remove(self, part: Partition) -> None:
        """It is not here any more. Idempotent."""


class Partitions:
    """Those that are open, by number. `members` are told of each that comes and goes; of those that
    are here as the process ends, nothing."""

    def __init__(
        self,
        make: Make,
        *,
        members: Iterable[Members] = (),
        router: Routes | None,
        pool: Pool,
        lost: Callable[[int, Exception], None],
        died: Died,
    ) -> None:
        """Without a `router` there is one partition, and callers' messages go to it as they come.

        `lost` is told once that a partition is another process's now, when nothing of it is left
        here but its logs, which are being closed."""
        self._make = make
        self.members = list(members)
        self._routes: Routes = router or _ToTheOnlyOne()
        self._pool = pool
        self._told_lost = lost
        self._supervisor = Supervisor(died)
        self._reading = asyncio.Semaphore(AT_ONCE)
        self._opening: set[int] = set()
        self._open: dict[int, Partition] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._has_begun = self._is_closed = False

    def __repr__(self) -> str:
        return f"<Partitions: {sorted(self._open)} open, {sorted(self._opening)} being opened>"

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    def get(self, number: int) -> Partition | None:
        """The partition with this number, if it is here and open."""
        return self._open.get(number)

    async def open(self, number: int, owner: str, epoch: int) -> Partition:
        """Recover a partition; it accepts and delivers from then on, or from `begin` on. A few are
        read at once, the others wait.

        Raises:
            LogError: as its logs say. It is not open; the others are as they were.
        """
        assert number not in self._open
        assert number not in self._opening
        self._opening.add(number)
        partition = self._make(number, partial(self._lost, number))
        try:
            async with self._reading:
                await partition.open(owner, epoch)
        except BaseException:
            await partition.stop()
            raise
        finally:
            self._opening.discard(number)
        self._open[number] = partition
        for member in self.members:
            member.add(partition)
        if self._has_begun:
            self._start(number, partition)
        return partition

    async def open_all(self, numbers: Iterable[int], owner: str, epoch: int) -> None:
        """Recover several; the first that fails ends the others that are not open yet.

        Raises:
            LogError: of the one that failed.
        """
        opening = [asyncio.ensure_future(self.open(one, owner, epoch)) for one in numbers]
        try:
            await asyncio.gather(*opening)
        except BaseException:
            for one in opening:
                one.cancel()
            await asyncio.gather(*opening, return_exceptions=True)
            raise

    def begin(self) -> None:
        """Accept and deliver, with those that are open and with those that will be."""
        self._has_begun = True
        for number, partition in self._open.items():
            self._start(number, partition)

    def _start(self, number: int, partition: Partition) -> None:
        partition.start(self._pool)
        if not self._is_closed:
            self._routes.add(number, partition.intake)

    def _lost(self, number: int, error: Exception) -> None:
        """Its log is another owner's, or out of reach. In one go, so that nothing comes between:
        nothing more is routed to it, nothing more is sent, and everybody who waits is told."""
        partition = self._open.pop(number, None)
        if partition is None:
            return  # while it was being opened: whoever does that sees the error
        self._pool.abandon_all_of(partition.settling)
        partition.abandon(error)
        self._routes.remove(number)  # it owes nobody an answer now
        self._leave(partition)
        self._told_lost(number, error)
        closing = self._supervisor.spawn("closing a lost partition", partition.stop())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self, number: int, drain_timeout_s: float) -> None:
        """Hand a partition over: accept nothing more for it, let its attempts end for a while,
        write down how they ended, and let go of its logs. Nothing happens when it is not open."""
        partition = self._open.get(number)
        if partition is None:
            return
        self._routes.remove(number)
        await partition.drain(drain_timeout_s)
        if self._open.pop(number, None) is not None:  # not lost meanwhile
            self._pool.abandon_all_of(partition.settling)
            self._leave(partition)
            await partition.stop()

    def _leave(self, partition: Partition) -> None:
        for member in reversed(self.members):
            member.remove(partition)

    # All of them.

    def close_intake(self) -> None:
        """Accept nothing more and start no more attempts; what is in flight goes on."""
        self._is_closed = True
        for partition in self._open.values():
            partition.close_intake()

    async def drain(self, timeout_s: float) -> bool:
        """Accept nothing more, wait until nothing is in flight; False when time ran out first."""
        self.close_intake()
        return all(await asyncio.gather(*(one.drain(timeout_s) for one in self._open.values())))

    async def stop(self) -> None:
        """Write down what was settled and close all logs. Idempotent."""
        self.close_intake()
        await asyncio.gather(*(partition.stop() for partition in self._open.values()))
        if self._closing:
            await asyncio.wait(self._closing)


class _ToTheOnlyOne:
    """Nobody has to know (`Routes`)."""

    def add(self, number: int, intake: Intake) -> None:
        """It is asked in any case."""

    def remove(self, number: int) -> None:
        """It is asked in any case, and refuses."""
