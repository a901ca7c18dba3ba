"""Destinations, as operators are shown them. Plain values; instants are integer microseconds since
the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final


class LaneKind(Enum):
    """What waits in a lane; the value is the API's word."""

    MESSAGE = "message"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class LaneView:
    """One destination of messages, or one application with its calls. `paused_until_us` is None
    when nothing but its limit or its rate holds it up; `rate` is what a rule says, as `50/s`.

    Of an application `destination` is scheme and authority of its endpoints, or the session that
    its runs are fetched with: that has no `limit`. How many of its calls wait for a time
    (`scheduled`) is not counted.

    `last_error` is as `core.outcome.cause` has it; `failing_since_us` None: the last attempt was
    answered. `delivered_per_s` is of the last minute, the percentiles of the last attempts that
    were timed, `oldest_at_us` of the oldest message that waits for its turn or another attempt.
    """

    destination: str
    ready: int
    scheduled: int | None
    in_flight: int
    limit: int | None
    paused_until_us: int | None
    held: bool
    breaker: str
    kind: LaneKind = LaneKind.MESSAGE
    rate: str | None = None
    last_error: str | None = None
    last_error_at_us: int | None = None
    failing_since_us: int | None = None
    delivered_per_s: float | None = None
    attempt_p50_ms: float | None = None
    attempt_p95_ms: float | None = None
    oldest_at_us: int | None = None


class LaneOrder(Enum):
    """How lanes are listed; the value is the API's word."""

    NAME = "name"
    MESSAGES = "messages"


MOST_LANES: Final = 1000
"""Lanes of one page, at most."""


@dataclass(frozen=True, slots=True)
class LanePage:
    """A page of lanes, of `total` ones. `next_after` is None on the last one, and where lanes are
    not listed by name."""

    items: Sequence[LaneView]
    total: int
    next_after: str | None
    incomplete: Sequence[int] = ()
