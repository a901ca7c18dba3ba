"""The sentence that says why a message is not sent yet."""

from __future__ import annotations

import pytest

from dispatcher.queue.admin import Reason
from dispatcher.queue.explaining import MOST_BEFORE, waits_in_lane
from dispatcher.queue.lanes import Lane, Lanes
from dispatcher.testing.queue import destination


def _lane() -> Lane:
    return Lanes(limit_max=10, pause_max_ms=1000).of(destination("a"))


@pytest.mark.parametrize(
    ("before", "is_free", "text"),
    [
        (0, True, "it is the next one of its destination."),
        (0, False, "it is the next one of its destination, and all workers are busy."),
        (1, True, "one message of its destination is before it."),
        (17, True, "17 messages of its destination are before it."),
        (MOST_BEFORE, True, "10000 or more messages of its destination are before it."),
    ],
)
def test_a_message_that_waits_its_turn_is_told_how_many_are_before_it(
    before: int, is_free: bool, text: str
) -> None:
    """Counted up to a bound: nobody is helped by looking through a million."""
    why = waits_in_lane(_lane(), before=before, is_free=is_free, now_us=0, offset_us=0)
    assert (why.reason, why.until_us) == (Reason.WAITING_TURN, None)
    assert why.message == f"It waits for its turn: {text}"


def test_a_message_behind_a_full_lane_is_told_the_limit() -> None:
    """And how many go before it."""
    lane = _lane()
    lane.in_flight = lane.limit.value
    why = waits_in_lane(lane, before=1, is_free=True, now_us=0, offset_us=0)
    assert why.reason is Reason.LIMIT_REACHED
    assert why.message == (
        "http://a has 2 attempts in flight, and 2 is its limit now; one message of its "
        "destination is before it."
    )


def test_a_pause_is_told_by_the_wall_clock() -> None:
    """The lane's instants are by the queue's own clock."""
    lane = _lane()
    lane.paused_until = 5_000_000
    why = waits_in_lane(lane, before=0, is_free=True, now_us=1, offset_us=7)
    assert (why.reason, why.until_us, why.expected_us) == (Reason.RETRY_AFTER, 5_000_007, 5_000_007)
