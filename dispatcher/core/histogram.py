"""Counts of values by size, for metrics: two comparisons and two additions for a value that is like
the one before, and a bisection for another one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Values by upper bound, the bound included (Prometheus' `le`). Values are whole numbers.

    `counts` has one count for each of `bounds`, and a last one for what is above all of them; they
    are not cumulative. `sum` is that of all values.
    """

    __slots__ = ("_above", "_at", "_upto", "bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[int]) -> None:
        """`bounds` grow."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0
        # Of the value before: where it was counted, and which values are counted there. None yet.
        self._at = 0
        self._above = self._upto = 0

    def observe(self, value: int, times: int = 1) -> None:
        """Count a value, or one that stands for so many."""
        if not self._above < value <= self._upto:
            self._find(value)
        self.counts[self._at] += times
        self.sum += value * times

    def _find(self, value: int) -> None:
        at = self._at = bisect_left(self.bounds, value)
        self._above = self.bounds[at - 1] if at else value - 1
        self._upto = self.bounds[at] if at < len(self.bounds) else value

    def add(self, other: Histogram) -> None:
        """Count what another one with the same bounds has counted."""
        for at, count in enumerate(other.counts):
            self.counts[at] += count
        self.sum += other.sum
