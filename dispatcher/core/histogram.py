"""Counts of values by size, for metrics: one bisection and two additions for each value."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Values by upper bound, the bound included (Prometheus' `le`). Values are whole numbers.

    `counts` has one count for each of `bounds`, and a last one for what is above all of them; they
    are not cumulative. `sum` is that of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[int]) -> None:
        """`bounds` grow."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0

    def observe(self, value: int, times: int = 1) -> None:
        """Count a value, or one that stands for so many."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def add(self, other: Histogram) -> None:
        """Count what another one with the same bounds has counted."""
        for at, count in enumerate(other.counts):
            self.counts[at] += count
        self.sum += other.sum
