"""The partitions that this process has: opened, lost and closed one by one, while the others go on.

    open ─▶ (begin) start, routed ─▶ lost: out of the router, attempts dropped, callers told, closed
                                 └─▶ close: out of the router, drained, written down, closed

What a partition has beside it, its companion, begins after it and ends before it. What belongs to
the process (the pool, `Traffic`, the router) is given to it and outlives all of
them. Whoever loses a partition says why and keeps nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from dispatcher.delivery.pool import Pool
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.partition import Partition
from dispatcher.telemetry.supervisor import Died, Supervisor

if TYPE_CHECKING:  # a server without a cluster imports nothing of one
    from dispatcher.cluster.holder import Ends

AT_ONCE: Final = 4
"""Logs that are read at the same time: each takes a thread and a part of the loop."""
OWNER: Final = "dispatcher"
"""Who opens logs, as they are told. It is the same for all nodes: epochs tell them apart."""
NOTHING_KNOWN: Final[Ends] = MappingProxyType({})
"""How far logs reach of which nobody knows more than they say themselves."""

Lost = Callable[[Exception], None]


class Routes(Protocol):
    """Has to know which partitions accept messages: the router, where there are several."""

    def add(self, number: int, intake: Intake) -> None:
        """A partition accepts messages from now on."""

    def remove(self, number: int) -> None:
        """It does not any more. Idempotent."""


class Make(Protocol):
    """Makes a partition that is not open yet."""

    def __call__(self, number: int, lost: Lost, ends: Ends) -> Partition:
        """Partition `number` of this process; `lost` is for it, and `ends` are how far its logs
        are known to reach at least."""


class Members(Protocol):
    """Has to know which partitions are here, whether they accept messages or not."""

    def add(self, part: Partition) -> None:
        """It is open, and not started yet."""

    def remove(self, part: Partition) -> None:
        """It is not here any more. Idempotent."""


class Companion(Protocol):
    """What a partition has beside it, for as long as it is here (of partition 0, the desk)."""

    async def open(self, owner: str, epoch: int) -> None:
        """Read its logs: those of the partition were, which is not started yet. Raises as they
        do."""

    async def start(self) -> None:
        """Begin: the partition has begun to store and deliver."""

    async def drain(self, timeout_s: float) -> bool:
        """Begin nothing more, wait until nothing is under way; False when time ran out first."""

    def abandon(self) -> None:
        """The partition is lost: at once, send nothing more, and tell who waits. Idempotent."""

    async def stop(self) -> None:
        """Leave nothing behind: before the partition is stopped. Idempotent."""


class Beside(Protocol):
    """Makes a companion for a partition that is not open yet, where it has one."""

    def __call__(self, number: int, partition: Partition, ends: Ends) -> Companion | None:
        """The companion of partition `number`; `ends` as for `Make`."""


def nothing_beside(number: int, partition: Partition, ends: Ends) -> None:
    """No partition has one."""


@dataclass(slots=True)
class _Here:
    """A partition that is open, its companion, and why it was lost."""

    partition: Partition
    companion: Companion | None
    error: Exception | None = None

    async def stop(self) -> None:
        if self.companion is not None:
            await self.companion.stop()
        await self.partition.stop()

    async def drain(self, timeout_s: float) -> bool:
        ending = [self.partition.drain(timeout_s)]
        if self.companion is not None:
            ending.append(self.companion.drain(timeout_s))
        return all(await asyncio.gather(*ending))


class Partitions:
    """The partitions that are open, by number. `members` are told of each that comes and goes, but
    not of those that are still here when the process ends."""

    def __init__(
        self,
        make: Make,
        *,
        beside: Beside = nothing_beside,
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
        self._beside = beside
        self.members = list(members)
        self._routes: Routes = router or _ToTheOnlyOne()
        self._pool = pool
        self._told_lost = lost
        self._supervisor = Supervisor(died)
        self._reading = asyncio.Semaphore(AT_ONCE)
        self._opening: set[int] = set()
        self._open: dict[int, _Here] = {}
        self._closing: dict[int, asyncio.Task[None]] = {}
        self._has_begun = self._is_closed = False

    def __repr__(self) -> str:
        return f"<Partitions: {sorted(self._open)} open, {sorted(self._opening)} being opened>"

    def __iter__(self) -> Iterator[Partition]:
        return iter([here.partition for here in self._open.values()])

    def __len__(self) -> int:
        return len(self._open)

    def get(self, number: int) -> Partition | None:
        """The partition with this number, if it is here and open."""
        here = self._open.get(number)
        return None if here is None else here.partition

    async def open(
        self, number: int, owner: str, epoch: int, ends: Ends = NOTHING_KNOWN
    ) -> Partition:
        """Recover a partition; it accepts and delivers from then on, or from `begin` on. A few are
        read at once, the others wait. `ends` are how far its logs reach at least.

        Raises:
            LogError: as its logs say, or those of its companion; also where it is lost before its
                companion has begun. It is not open; the others are as they were.
        """
        assert number not in self._open
        assert number not in self._opening
        self._opening.add(number)
        try:
            if (before := self._closing.get(number)) is not None:
                await asyncio.wait([before])
            here = await self._read(number, owner, epoch, ends)
        finally:
            self._opening.discard(number)
        self._open[number] = here
        for member in tuple(self.members):
            member.add(here.partition)
        if self._has_begun:
            here.partition.start(self._pool)
            await self._start_companion(number, here)
            self._route(number, here.partition)
        return here.partition

    async def _read(self, number: int, owner: str, epoch: int, ends: Ends) -> _Here:
        partition = self._make(number, partial(self._lost, number), ends)
        here = _Here(partition, self._beside(number, partition, ends))
        try:
            async with self._reading:
                await partition.open(owner, epoch)
                if here.companion is not None:
                    await here.companion.open(owner, epoch)
        except BaseException:
            await here.stop()
            raise
        return here

    async def _start_companion(self, number: int, here: _Here) -> None:
        if here.companion is None:
            return
        try:
            await here.companion.start()
        except BaseException:
            if self._open.pop(number, None) is not None:
                self._abandon(number, here, None)
            raise
        if here.error is not None:
            raise here.error

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
        """Accept and deliver, with those that are open (which have no companion) and with those
        that will be."""
        self._has_begun = True
        for number, here in self._open.items():
            assert here.companion is None
            here.partition.start(self._pool)
            self._route(number, here.partition)

    def _route(self, number: int, partition: Partition) -> None:
        if not self._is_closed:
            self._routes.add(number, partition.intake)

    def _lost(self, number: int, error: Exception) -> None:
        """Its log is another owner's, or out of reach. In one go, so that nothing comes between:
        nothing more is routed to it, nothing more is sent, and everybody who waits is told."""
        here = self._open.pop(number, None)
        if here is None:
            return  # while it was being opened: whoever does that sees the error
        here.error = error
        self._abandon(number, here, error)
        self._told_lost(number, error)

    def abandon(self, number: int, error: Exception) -> None:
        """As if its log had said this; nobody is told that it is lost. Idempotent."""
        here = self._open.pop(number, None)
        if here is not None:
            here.error = error
            self._abandon(number, here, error)

    def _abandon(self, number: int, here: _Here, error: Exception | None) -> None:
        partition = here.partition
        self._pool.abandon_all_of(partition.settling)
        partition.abandon(error)
        if here.companion is not None:
            here.companion.abandon()
        self._routes.remove(number)  # it owes nobody an answer now
        self._leave(partition)
        self._close(number, here)

    def _close(self, number: int, here: _Here) -> asyncio.Task[None]:
        closing = self._supervisor.spawn(f"closing partition {number}", here.stop())
        self._closing[number] = closing

        def closed(_: object) -> None:
            if self._closing.get(number) is closing:
                del self._closing[number]

        closing.add_done_callback(closed)
        return closing

    async def close(self, number: int, drain_timeout_s: float) -> None:
        """Hand a partition over: accept nothing more for it, let its attempts end for a while,
        write down how they ended, and let go of its logs. Nothing happens when it is not open.
        Where this is cancelled before its end it is accepted for no more, and `abandon` ends it."""
        here = self._open.get(number)
        if here is None:
            return
        self._routes.remove(number)
        await here.drain(drain_timeout_s)
        if self._open.get(number) is here:  # not lost meanwhile
            del self._open[number]
            self._pool.abandon_all_of(here.partition.settling)
            self._leave(here.partition)
            await asyncio.wait([self._close(number, here)])

    def _leave(self, partition: Partition) -> None:
        for member in reversed(tuple(self.members)):
            member.remove(partition)

    # All of them.

    def close_intake(self) -> None:
        """Accept nothing more and start no more attempts; what is in flight goes on."""
        self._is_closed = True
        for partition in self:
            partition.close_intake()

    async def drain(self, timeout_s: float) -> bool:
        """Accept nothing more, wait until nothing is in flight; False when time ran out first."""
        self.close_intake()
        return all(await asyncio.gather(*(one.drain(timeout_s) for one in self._open.values())))

    async def stop(self) -> None:
        """Write down what was settled and close all logs. Idempotent."""
        self.close_intake()
        await asyncio.gather(*(one.stop() for one in self._open.values()))
        if self._closing:
            await asyncio.wait(self._closing.values())


class _ToTheOnlyOne:
    """Nobody has to know (`Routes`)."""

    def add(self, number: int, intake: Intake) -> None:
        """It is asked in any case."""

    def remove(self, number: int) -> None:
        """It is asked in any case, and refuses."""
