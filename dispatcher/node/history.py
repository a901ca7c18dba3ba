"""The last hour, remembered: so that whoever opens the dashboard sees where things come from.

A sample every ten seconds, of numbers that are counted anyway, in rings of 360 points: some 45 KiB,
and nothing for any message. Steps are numbered by the queue's clock, so that a step in which nobody
took a sample (the process was stopped) is a gap and not a lie.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dispatcher.core.histogram import Histogram

STEP_S: Final = 10
STEP_US: Final = STEP_S * 1_000_000
POINTS: Final = 360
_GAP: Final = math.nan


@dataclass(frozen=True, slots=True)
class Counts:
    """A histogram as it was; `sum` is that of all values."""

    bounds: tuple[int, ...]
    counts: tuple[int, ...]
    sum: int

    @classmethod
    def of(cls, *histograms: Histogram) -> Counts:
        """Several with the same bounds, as one."""
        columns = zip(*(one.counts for one in histograms), strict=True)
        total = sum(one.sum for one in histograms)
        return cls(histograms[0].bounds, tuple(map(sum, columns)), total)

    def since(self, before: Counts) -> Counts:
        """What came after an earlier state."""
        added = (new - old for new, old in zip(self.counts, before.counts, strict=True))
        return Counts(self.bounds, tuple(added), self.sum - before.sum)

    def percentile(self, percent: int) -> float | None:
        """What so many of a hundred values stayed below, about. None: there is no value.

        In the bucket in question they are taken to be spread evenly, as far around their mean as it
        reaches: attempts that a timeout ended are all as long. What is above all bounds counts as
        the highest of them.
        """
        total = sum(self.counts)
        if total <= 0:
            return None
        wanted = total * percent / 100
        below = 0
        for place, count in enumerate(self.counts[:-1]):
            if count and below + count >= wanted:
                mean = self._mean_in(place)
                lower, upper = self._edges(place)
                reach = min(mean - lower, upper - mean)
                return mean - reach + 2 * reach * (wanted - below) / count
            below += count
        return float(self.bounds[-1])

    def _mean_in(self, place: int) -> float:
        """The mean of a bucket, where all others are taken to be as they are in the middle."""
        others = sum(
            count * sum(self._edges(other)) / 2
            for other, count in enumerate(self.counts)
            if other != place
        )
        lower, upper = self._edges(place)
        return min(max((self.sum - others) / self.counts[place], lower), upper)

    def _edges(self, place: int) -> tuple[int, int]:
        lower = self.bounds[place - 1] if place else 0
        return lower, self.bounds[min(place, len(self.bounds) - 1)]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted up to an instant: totals since the start, of which a point is the difference
    of a step; gauges, of which it is the last value; and histograms of microseconds, of which it is
    the median and the 95th percentile of what a step added."""

    totals: Mapping[str, int]
    gauges: Mapping[str, float | None]
    timings: Mapping[str, Counts] = field(default_factory=dict)


class History:
    """The rings. A step is the number of its end: `at_us // STEP_US`."""

    def __init__(self) -> None:
        self._rings: dict[str, array[float]] = {}
        self._step = 0
        self._last: Sample | None = None

    @property
    def ends_at_us(self) -> int:
        """The end of the last step, by the queue's clock; 0 before the first sample."""
        return self._step * STEP_US

    def add(self, at_us: int, sample: Sample) -> None:
        """Put in the sample that ends a step. The first one is where the differences begin."""
        step = at_us // STEP_US
        if self._last is not None and step <= self._step:
            return
        skipped = min(step - self._step - 1, POINTS) if self._last is not None else 0
        values = _values(self._last, sample)
        for name in self._rings.keys() | values.keys():
            ring = self._rings.setdefault(name, array("d", [_GAP] * POINTS))
            ring.extend([_GAP] * skipped)
            ring.append(values.get(name, _GAP))
            del ring[:-POINTS]
        self._step, self._last = step, sample

    def series(self) -> dict[str, list[float | None]]:
        """All points, the oldest first; None is a gap."""
        return {
            name: [None if math.isnan(point) else point for point in ring]
            for name, ring in self._rings.items()
        }

    def points(self, name: str) -> list[float | None]:
        """One of the series; empty before the first sample."""
        ring = self._rings.get(name, ())
        return [None if math.isnan(point) else point for point in ring]


def _values(before: Sample | None, now: Sample) -> dict[str, float]:
    """The points of a step. What the sample before had not is a gap, as in the first one."""
    totals = {} if before is None else before.totals
    timings = {} if before is None else before.timings
    values: dict[str, float] = {}
    for name, total in now.totals.items():
        values[name] = total - totals[name] if name in totals else _GAP
    for name, gauge in now.gauges.items():
        values[name] = _GAP if gauge is None else gauge
    for name, counts in now.timings.items():
        added = counts.since(timings[name]) if name in timings else None
        for percent in (50, 95):
            found = None if added is None else added.percentile(percent)
            values[f"{name}_p{percent}_ms"] = _GAP if found is None else round(found / 1000, 3)
    return values


@dataclass(frozen=True, slots=True)
class Forecast:
    """A disk is full in `full_in_s` seconds, if it goes on as in the last `known_s`."""

    full_in_s: float
    known_s: int


def foresee(free_bytes: Sequence[float | None], step_s: int) -> Forecast | None:
    """Foresee when a disk is full: a line through what was free, by least squares, goes on as it
    was. None: it does not fall, or too little is known. The last point is what is free now."""
    points = [(number, free) for number, free in enumerate(free_bytes) if free is not None]
    if len(points) < _LEAST_POINTS:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    if slope >= 0:
        return None
    known_steps = points[-1][0] - points[0][0] + 1
    known_s = known_steps * step_s
    full_in_s = points[-1][1] / -slope * step_s
    if known_steps < POINTS and full_in_s > _FORESEEN_TIMES * known_s:
        return None
    return Forecast(full_in_s, known_s)


_LEAST_POINTS: Final = 30
"""Five minutes: a single upload is no trend."""
_FORESEEN_TIMES: Final = 24
"""While less than an hour is known, so many times as far is seen ahead: ten minutes foretell four
hours. What a start takes, and takes once, would look like a disk that is full within the day."""
