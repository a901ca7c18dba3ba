"""Which lanes somebody means, and which of them fail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from dispatcher.core.breaker import Breaker, State
from dispatcher.core.trail import Trail
from dispatcher.queue.lanes.lanes import Lane

_FAILING_US: Final = 60_000_000


class LaneTrouble(Enum):
    """What a lane may be filtered for; the value is the API's word. What is held does not count as
    failing: nothing is sent there."""

    FAILING = "failing"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class LaneFilter:
    """Which lanes: those that match everything that is not None. `part` is a part of the
    destination, in lower case; `among` are destinations, as they are spelled."""

    part: str | None = None
    trouble: LaneTrouble | None = None
    among: frozenset[str] | None = None

    def fits(self, destination: str, *, is_held: bool, is_failing: bool) -> bool:
        """Whether a lane matches."""
        if self.part is not None and self.part not in destination.lower():
            return False
        if self.among is not None and destination not in self.among:
            return False
        match self.trouble:
            case LaneTrouble.HELD:
                return is_held
            case LaneTrouble.FAILING:
                return is_failing and not is_held
            case None:
                return True


EVERY_LANE: Final = LaneFilter()


def is_failing(lane: Lane, now_us: int) -> bool:
    """Whether a destination is down: its breaker is not closed, or its attempts have been failing
    for a minute."""
    return is_down(lane.peer.breaker, lane.peer.trail, now_us)


def is_down(breaker: Breaker, trail: Trail, now_us: int) -> bool:
    """The same, of any lane that has these."""
    if breaker.state is not State.CLOSED:
        return True
    return bool(trail.failing_since) and now_us - trail.failing_since > _FAILING_US
