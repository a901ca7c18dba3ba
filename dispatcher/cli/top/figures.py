"""The figures of `top`: two looks at totals make a rate, lanes have an order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dispatcher.cli.client import Json
from dispatcher.cli.stats import lane_state


@dataclass(frozen=True, slots=True)
class Look:
    """The figures at one moment of the monotonic clock."""

    at_s: float
    figures: Json


def rate(field: str, last: Look | None, now: Look) -> float | None:
    """Return how much a total grew, a second; None where that cannot be known.

    Totals count from the start of the server: one that shrank says that it was restarted.
    """
    if last is None or now.at_s <= last.at_s:
        return None
    grown = now.figures.get(field, 0) - last.figures.get(field, 0)
    return None if grown < 0 else grown / (now.at_s - last.at_s)


def waiting(lane: Json) -> int:
    """Return how many messages or calls wait in a lane, or are in flight."""
    return int((lane["ready"] or 0) + (lane["scheduled"] or 0) + (lane["in_flight"] or 0))


_STATES: Final = ("held", "backs off", "probing", None)


def _most(field: str) -> Callable[[Json], Any]:
    return lambda lane: -(lane.get(field) or 0)


ORDERS: Final[Mapping[str, Callable[[Json], Any]]] = {
    "waiting": lambda lane: -waiting(lane),
    "state": lambda lane: (
        _STATES.index(lane_state(lane)),
        not lane.get("failing_since"),
        -waiting(lane),
    ),
    "delivered/s": _most("delivered_per_s"),
    "p95": _most("attempt_p95_ms"),
    "oldest": lambda lane: lane.get("oldest_at") or "9",
    "name": lambda lane: 0,
}
"""What lanes can be sorted by; those that are alike, by name."""


def in_order(lanes: Sequence[Json], order: str, text: str) -> list[Json]:
    """Return the lanes with a text in their names, in an order."""
    key = ORDERS[order]
    found = [lane for lane in lanes if text.lower() in str(lane["destination"]).lower()]
    return sorted(found, key=lambda lane: (key(lane), lane["destination"], lane.get("kind") or ""))
