"""Which destinations are held, told by the desk to whoever has other partitions: what operators
hold is durable in each partition, but one may have been away as that changed, or be new.

Partition 0 knows what is held: it is told first of each change, and the desk is where it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import TypeAlias

from dispatcher.core.destination import Destination
from dispatcher.core.placing import FIRST
from dispatcher.errors import DispatcherError
from dispatcher.queue.partition import Partition

Held: TypeAlias = Callable[[], Sequence[str]]
"""Returns the destinations that are held now."""
Owned: TypeAlias = frozenset[tuple[int, int]]
"""Partitions that somebody has, each with a number that it did not have before: its epoch, or how
many came before it."""
HoldOnly: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]
"""Has somebody hold these destinations and no others."""


class Holds:
    """Tells each of those that have other partitions once, and again where it has other ones."""

    def __init__(self, held: Held) -> None:
        """`held` are those that are held now."""
        self._held = held
        self._told: dict[Hashable, Owned] = {}
        self._telling: set[Hashable] = set()
        self._is_known = False

    def begin(self) -> None:
        """From now on it is known what is held."""
        self._is_known = True

    def end(self) -> None:
        """From now on somebody else knows it. Idempotent."""
        self._is_known = False

    def forget(self, who: Hashable) -> None:
        """It is away, or gone. Idempotent."""
        self._told.pop(who, None)

    async def tell(self, who: Hashable, hold_only: HoldOnly, partitions: Owned) -> None:
        """Tell one that has these partitions, each with its epoch, unless it was told for them, or
        is being told something. To be repeated: it may be away now, or its disk full."""
        if who in self._telling:
            return
        self._telling.add(who)
        try:
            while self._is_known and not self._knows(who, partitions):
                held = tuple(self._held())
                await hold_only(held)
                if tuple(self._held()) == held:  # else it was told what is old by now
                    self._told[who] = partitions
        except DispatcherError:
            pass
        finally:
            self._telling.discard(who)

    def _knows(self, who: Hashable, partitions: Owned) -> bool:
        told = self._told.get(who)
        return told is not None and partitions <= told


class HoldsHere:
    """Tells the partitions of this process what is held, as they come and go."""

    def __init__(self, holds: Holds, hold_here: HoldOnly) -> None:
        self._holds = holds
        self._hold_here = hold_here
        self._arrivals = 0
        self._owned: dict[int, int] = {}

    def add(self, number: int) -> None:
        """A partition is here from now on, and is told next."""
        self._arrivals += 1
        self._owned[number] = self._arrivals

    def remove(self, number: int) -> None:
        """It is not here any more. Idempotent."""
        self._owned.pop(number, None)

    async def tell(self) -> None:
        """As `Holds.tell`, where there is any but the one that knows."""
        if self._owned.keys() - {FIRST}:
            await self._holds.tell(self, self._hold_here, frozenset(self._owned.items()))


async def hold_only(partitions: Iterable[Partition], destinations: Sequence[str]) -> None:
    """Hold these destinations and no others in these partitions; not in the one that knows.

    Raises:
        Refused: it cannot be stored now.
    """
    wanted = {Destination.parse(one).key for one in destinations}
    for partition in tuple(partitions):
        if partition.config.partition == FIRST:
            continue
        for key in partition.pauses.keys ^ wanted:
            change = partition.admin.hold if key in wanted else partition.admin.resume
            await change(key.decode("ascii"))
