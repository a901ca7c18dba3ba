"""Why a call that is due is not run now: the questions that `Lanes.next_turn` asks of its lane and
its function, one by one, for people. Asking them changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dispatcher.core.breaker import State
from dispatcher.functions.lanes.lane import Function, Lane
from dispatcher.functions.lanes.lanes import Lanes


class Gate(Enum):
    """Which gate; the value is its name in `repr`."""

    HOLD = "hold"
    PAUSE = "pause"
    RATE = "rate"
    BREAKER = "breaker"
    LIMIT = "limit"
    FUNCTION_PAUSE = "function pause"
    FUNCTION_LIMIT = "function limit"
    FETCH = "fetch"
    WORKERS = "workers"


@dataclass(frozen=True, slots=True)
class Closed:
    """A gate that lets no call through, not before `until_us` by the clock of the lanes; None:
    until something happens (a run ends, an operator resumes, somebody fetches)."""

    gate: Gate
    until_us: int | None = None


def _hold(lane: Lane, now_us: int) -> Closed | None:
    return Closed(Gate.HOLD) if lane.is_held else None


def _pause(lane: Lane, now_us: int) -> Closed | None:
    until_us = lane.paused_until_us
    return Closed(Gate.PAUSE, until_us) if until_us > now_us else None


def _rate(lane: Lane, now_us: int) -> Closed | None:
    if lane.bucket is None:
        return None
    opens_us = lane.bucket.opens_at(now_us)
    return Closed(Gate.RATE, opens_us) if opens_us > now_us else None


def _breaker(lane: Lane, now_us: int) -> Closed | None:
    breaker = lane.breaker
    if breaker.admits(now_us):
        return None
    return Closed(Gate.BREAKER, breaker.open_until_us if breaker.state is State.OPEN else None)


def _limit(lane: Lane, now_us: int) -> Closed | None:
    return Closed(Gate.LIMIT) if lane.is_full or lane.room_us() > now_us else None


_LANE_GATES: Final[tuple[Callable[[Lane, int], Closed | None], ...]] = (
    _hold, _pause, _breaker, _rate, _limit,
)  # fmt: skip
"""What matters longest first: all of them have to be open."""


def first_closed(lanes: Lanes, lane: Lane, function: str, now_us: int) -> Closed | None:
    """The first gate that holds up the calls of a function in a lane; None: one of them is run
    next, or others of the lane have their turn before it."""
    if not lane.is_pulled:
        for ask in _LANE_GATES:
            closed = ask(lane, now_us)
            if closed is not None:
                return closed
    found = lane.functions.get(function)
    closed = None if found is None else _of_function(found, now_us)
    if closed is None and lane.is_pulled:
        return Closed(Gate.FETCH)
    if closed is None and lanes.in_flight >= lanes.most:
        return Closed(Gate.WORKERS)
    return closed


def _of_function(function: Function, now_us: int) -> Closed | None:
    if function.paused_until_us > now_us:
        return Closed(Gate.FUNCTION_PAUSE, function.paused_until_us)
    return None if function.admits(now_us) else Closed(Gate.FUNCTION_LIMIT)
