"""The one reason why a message that waits is not sent, told to a person. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.core.breaker import State as Breaker
from dispatcher.queue.admin import Reason
from dispatcher.queue.lanes import Lane

MOST_BEFORE = 10_000
"""Messages before one that are counted: every one is a step along the lane."""


@dataclass(frozen=True, slots=True)
class Why:
    """A reason; instants are microseconds since the epoch, by the wall clock."""

    reason: Reason
    message: str
    until_us: int | None = None
    expected_us: int | None = None


def waits_for_retry(due_us: int, attempts: int) -> Why:
    """Of a message whose last attempt failed."""
    return Why(
        Reason.BACKOFF,
        f"Attempt {attempts} failed; the next one is not made before the delay is over.",
        due_us,
        due_us,
    )


def is_under_way(attempt: int, found: tuple[int, int] | None) -> Why:
    """Of a message that is being sent; `found` is when that began, and its timeout in ms."""
    until = None if found is None else found[0] + found[1] * 1000
    return Why(Reason.IN_FLIGHT, f"Attempt {attempt} is under way.", until)


def waits_in_lane(lane: Lane, *, before: int, is_free: bool, now_us: int, offset_us: int) -> Why:
    """Of a message that is ready.

    Args:
        lane: where it waits.
        before: how many messages of the lane are before it, counted up to `MOST_BEFORE`.
        is_free: whether a worker is free.
        now_us: by the queue's clock, which the lane's instants are of.
        offset_us: what has to be added to those for the wall clock's.
    """
    name = lane.destination
    if lane.held:
        return Why(Reason.DESTINATION_PAUSED, f"{name} was paused; resume it to go on.")
    if lane.breaker.state is not Breaker.CLOSED:
        return _behind_breaker(lane, now_us, offset_us)
    if lane.paused_until > now_us:
        until = lane.paused_until + offset_us
        return Why(Reason.RETRY_AFTER, f"{name} asked for a pause (Retry-After).", until, until)
    if lane.in_flight >= lane.limit.value:
        return Why(
            Reason.LIMIT_REACHED,
            f"{name} has {lane.in_flight} attempts in flight, and {lane.limit.value} is its limit "
            f"now; {_line(before)}.",
        )
    busy = "" if is_free else ", and all workers are busy"
    return Why(Reason.WAITING_TURN, f"It waits for its turn: {_line(before)}{busy}.")


def _line(before: int) -> str:
    match before:
        case 0:
            return "it is the next one of its destination"
        case 1:
            return "one message of its destination is before it"
        case _:
            most = "or more " if before == MOST_BEFORE else ""
            return f"{before} {most}messages of its destination are before it"


def _behind_breaker(lane: Lane, now_us: int, offset_us: int) -> Why:
    breaker = lane.breaker
    if breaker.state is Breaker.HALF_OPEN or breaker.open_until_us <= now_us:
        text = f"{lane.destination} failed too often; one message is being sent to see if it is up."
        return Why(Reason.BREAKER_OPEN, text)
    until = breaker.open_until_us + offset_us
    text = f"{lane.destination} failed too often; nothing is sent there until it is tried again."
    return Why(Reason.BREAKER_OPEN, text, until, until)
