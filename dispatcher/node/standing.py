"""How the partitions of a process stand, as it tells the desk."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.node.whole import Whole
from dispatcher.queue.partition import Partition


@dataclass(frozen=True, slots=True)
class Standing:
    """A partition that is open. `position` is where its transaction log ends; `late_ms` is for how
    long a batch has been with one of its logs, 0 where none is."""

    number: int
    position: int
    late_ms: int


def standings_of(whole: Whole) -> list[Standing]:
    """Those of this process, once it has begun."""
    return [_standing(part) for part in whole.parts]


def _standing(part: Partition) -> Standing:
    late_s = max(part.committer.waiting_s(), part.dead_letters.committer.waiting_s())
    return Standing(part.config.partition, part.log.bounds().end, int(late_s * 1000))
