"""Units: records that are stored together or not at all, and one waiter for all of them.

A batch is atomic in the log, so a unit is never split over two of them. The committer keeps its
records side by side, each with a part of the unit as its waiter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dispatcher.errors import BatchTooLarge, Refusal
from dispatcher.queue.records.kinds import OVERHEAD_BYTES


class UnitWaiter(Protocol):
    """Who is told what became of a unit."""

    def stored(self, positions: Sequence[int]) -> None:
        """All its records are durable, at these positions, in their order."""

    def refused(self, refusal: Refusal) -> None:
        """None of them is stored (or, after a failed sync, perhaps all)."""


class Part:
    """The waiter of one record of a unit. `is_first` says that the unit begins with it."""

    __slots__ = ("_rest", "_waiter", "is_first", "positions")

    def __init__(self, waiter: UnitWaiter, positions: list[int], *, rest: int) -> None:
        """`rest` records of the unit follow this one; `positions` is shared by all parts."""
        self._waiter = waiter
        self._rest = rest
        self.positions = positions
        self.is_first = False

    def stored(self, position: int) -> None:
        """Told in order: with the last record the unit is stored."""
        self.positions.append(position)
        if not self._rest:
            self._waiter.stored(self.positions)

    def refused(self, refusal: Refusal) -> None:
        """Told once for the whole unit."""
        if not self._rest:
            self._waiter.refused(refusal)


def parts_of(payloads: Sequence[bytes], waiter: UnitWaiter, *, most_bytes: int) -> list[Part]:
    """The waiters of a unit's records, in order. `most_bytes` is what a batch holds.

    Raises:
        BatchTooLarge: no batch can hold the unit.
    """
    count = len(payloads)
    size = sum(map(len, payloads)) + OVERHEAD_BYTES * count
    if size > most_bytes:
        raise BatchTooLarge(f"a unit of {count} records takes {size} bytes")
    positions: list[int] = []
    parts = [Part(waiter, positions, rest=count - 1 - number) for number in range(count)]
    parts[0].is_first = True
    return parts
