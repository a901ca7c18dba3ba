"""Which calls ever had a result: what is gone is told apart from what never was.

Keys are numbers that count up within an incarnation, and incarnations are random numbers of 32
bits. So the lowest and the highest number that had a result, for each incarnation, say of nearly
every id whether it was given away once: one that was made up, or mistyped, has another incarnation.
Between the two there are numbers of calls that had no result of their own (children, what was
refused before it was stored): of those it says "gone" too, which is true.

Written down (KNOWN) whenever a stretch of the log is trimmed. A crash before that is durable, or
more incarnations than are kept, only make "gone" into "never known".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dispatcher.functions.results.records import KnownRange

MOST_INCARNATIONS: Final = 256
"""A start is one: 20 bytes in each record of them."""


class Known:
    """Ranges of numbers by incarnation, at most `MOST_INCARNATIONS`, the oldest forgotten first."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._ranges)

    def __iter__(self) -> Iterator[KnownRange]:
        """In the order in which incarnations were first seen."""
        return (KnownRange(one, low, high) for one, (low, high) in self._ranges.items())

    def add(self, incarnation: int, number: int) -> None:
        """A call has a result."""
        found = self._ranges.get(incarnation)
        if found is None:
            self.add_range(KnownRange(incarnation, number, number))
        elif not found[0] <= number <= found[1]:
            self._ranges[incarnation] = min(found[0], number), max(found[1], number)

    def add_range(self, known: KnownRange) -> None:
        """Calls had results once."""
        low, high = self._ranges.get(known.incarnation, (known.low, known.high))
        self._ranges[known.incarnation] = min(low, known.low), max(high, known.high)
        if len(self._ranges) > MOST_INCARNATIONS:
            del self._ranges[next(iter(self._ranges))]

    def has(self, incarnation: int, number: int) -> bool:
        """Whether this may be a call that had a result once."""
        found = self._ranges.get(incarnation)
        return found is not None and found[0] <= number <= found[1]
