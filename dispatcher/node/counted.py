"""What partitions count and observe while they are here, and what those that left had counted: what
a process tells of all of them must not fall when one goes to another process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from dispatcher.core.histogram import Histogram
from dispatcher.queue.commit.committer import BATCH_RECORDS
from dispatcher.queue.flow.figures import DELIVERY_US, MOMENTS_US
from dispatcher.queue.partition import Partition
from dispatcher.txlog import SYNC_US


class Count(Enum):
    """What partitions count since the start of the process."""

    ACCEPTED = auto()
    DELIVERED = auto()
    DEAD = auto()
    BATCHES = auto()
    RECORDS = auto()
    STALLS = auto()
    DEAD_STALLS = auto()
    LETTERS_DROPPED = auto()
    LETTERS_TOO_LARGE = auto()
    LETTERS_REDRIVEN = auto()


COUNTED: Final[dict[Count, Callable[[Partition], int]]] = {
    Count.ACCEPTED: lambda part: part.figures.accepted_total,
    Count.DELIVERED: lambda part: part.figures.delivered_total,
    Count.DEAD: lambda part: part.figures.dead_total,
    Count.BATCHES: lambda part: part.committer.batches,
    Count.RECORDS: lambda part: part.committer.records,
    Count.STALLS: lambda part: part.stalls.stalls,
    Count.DEAD_STALLS: lambda part: part.dead_stalls.stalls,
    Count.LETTERS_DROPPED: lambda part: part.retention.dropped_total,
    Count.LETTERS_TOO_LARGE: lambda part: part.figures.letters_too_large_total,
    Count.LETTERS_REDRIVEN: lambda part: part.redriver.redriven_total,
}


class Observed(Enum):
    """What they observe, each with bounds of its own."""

    DELIVERY_US = auto()
    ACCEPT_US = auto()
    SUCCESS_US = auto()
    FAILURE_US = auto()
    BATCH_RECORDS = auto()
    SYNC_US = auto()


OBSERVED: Final[dict[Observed, Callable[[Partition], Histogram]]] = {
    Observed.DELIVERY_US: lambda part: part.figures.delivery_us,
    Observed.ACCEPT_US: lambda part: part.figures.accept_us,
    Observed.SUCCESS_US: lambda part: part.figures.success_us,
    Observed.FAILURE_US: lambda part: part.figures.failure_us,
    Observed.BATCH_RECORDS: lambda part: part.committer.batch_records,
    Observed.SYNC_US: lambda part: part.log.sync_us,
}

_BOUNDS: Final = {
    Observed.DELIVERY_US: DELIVERY_US,
    Observed.ACCEPT_US: MOMENTS_US,
    Observed.SUCCESS_US: MOMENTS_US,
    Observed.FAILURE_US: MOMENTS_US,
    Observed.BATCH_RECORDS: BATCH_RECORDS,
    Observed.SYNC_US: SYNC_US,
}


class Left:
    """What those have counted that are not here any more."""

    def __init__(self) -> None:
        self.has_any = False
        self.counts = Counter[Count]()
        self.attempts = Counter[str]()
        self.observed = {one: Histogram(bounds) for one, bounds in _BOUNDS.items()}

    def add(self, part: Partition) -> None:
        """One leaves, and counts nothing more."""
        self.has_any = True
        for count, read in COUNTED.items():
            self.counts[count] += read(part)
        self.attempts.update(part.figures.attempts)
        for observed, histogram in self.observed.items():
            histogram.add(OBSERVED[observed](part))
