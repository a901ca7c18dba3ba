"""The sentence that says why a message is not sent yet."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dispatcher.core.breaker import State
from dispatcher.core.clock import QueueUs, WallUs
from dispatcher.queue.admin.explaining import (
    MOST_BEFORE,
    Why,
    waits_for,
    waits_for_its_time,
    waits_for_turn,
)
from dispatcher.queue.admin.surface import Reason
from dispatcher.queue.lanes.gates import Closed, Gate
from dispatcher.queue.lanes.peers import Peer
from dispatcher.testing.lanes import lanes_of
from dispatcher.testing.queue import destination


def _peer() -> Peer:
    return lanes_of().of(destination("a")).peer


def _later(us: int) -> Callable[[QueueUs], WallUs]:
    """A wall clock that is ahead of the queue's."""
    return lambda at: WallUs(at + us)


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
    why = waits_for_turn(before, is_free=is_free)
    assert (why.reason, why.until_us) == (Reason.WAITING_TURN, None)
    assert why.message == f"It waits for its turn: {text}"


def test_a_message_behind_a_full_lane_is_told_the_limit() -> None:
    """And how many go before it."""
    peer = _peer()
    peer.in_flight = peer.limit.value
    why = waits_for(Closed(Gate.LIMIT), peer, before=1, to_wall=_later(0))
    assert why.reason is Reason.LIMIT_REACHED
    assert why.message == (
        "http://a has 1 attempts in flight, and 1 is its limit now; one message of its "
        "destination is before it."
    )


def test_a_pause_is_told_by_the_wall_clock() -> None:
    """The lane's instants are by the queue's own clock."""
    closed = Closed(Gate.PAUSE, 5_000_000)
    why = waits_for(closed, _peer(), before=0, to_wall=_later(7))
    assert (why.reason, why.until_us, why.expected_us) == (Reason.RETRY_AFTER, 5_000_007, 5_000_007)


def test_a_rest_for_what_this_machine_lacks_is_told() -> None:
    """It is not the destination that is to blame."""
    closed = Closed(Gate.LACKING, 5_000_000)
    why = waits_for(closed, _peer(), before=0, to_wall=_later(0))
    assert (why.reason, why.until_us) == (Reason.LACKING, 5_000_000)
    assert why.message == (
        "This machine lacked something for the last attempts to send to http://a; it is the next "
        "one of its destination."
    )


def _scheduled(peer: Peer, *, attempts: int = 2, before: int = 0) -> Why:
    """Of a message that is due in five seconds, by a wall clock that is 7 microseconds ahead."""
    return waits_for_its_time(
        Closed(Gate.TIME, 6_000_000),
        peer,
        now_us=QueueUs(1_000_000),
        attempts=attempts,
        before=before,
        to_wall=_later(7),
    )


def test_a_message_that_waits_for_its_next_attempt_is_told_when_that_is_due() -> None:
    """And what is ready before it: the attempt may be later."""
    why = _scheduled(_peer())
    assert (why.reason, why.until_us, why.expected_us) == (Reason.SCHEDULED, 6_000_007, 6_000_007)
    text = "Attempt 2 failed; the next one is not made before the delay is over."
    assert why.message == text
    why = _scheduled(_peer(), before=300)
    assert why.message == f"{text} Messages of its destination that are ready before it: 300."


def test_scheduled_message_of_a_held_destination_says_so() -> None:
    """Its delay is not all that it waits for."""
    peer = _peer()
    peer.held = True
    why = _scheduled(peer)
    assert (why.reason, why.until_us, why.expected_us) == (Reason.DESTINATION_HELD, None, None)


@pytest.mark.parametrize("gate", ["pause", "rest", "breaker", "probe"])
def test_scheduled_message_expects_no_attempt_while_its_destination_is_left_alone(
    gate: str,
) -> None:
    """The later of the two counts; where nobody knows how long that is, there is none."""
    peer = _peer()
    match gate:
        case "pause":
            peer.paused_until = 9_000_000
        case "rest":
            peer.rests_until = 9_000_000
        case _:
            peer.breaker.state = State.OPEN if gate == "breaker" else State.HALF_OPEN
            peer.breaker.open_until_us = 9_000_000
    why = _scheduled(peer)
    assert why.reason is Reason.SCHEDULED
    assert why.until_us == 6_000_007
    assert why.expected_us == (None if gate == "probe" else 9_000_007)
    assert why.message.endswith("Its destination is left alone for longer.")
    peer.paused_until = peer.rests_until = peer.breaker.open_until_us = 5_000_000
    if gate != "probe":
        assert _scheduled(peer).expected_us == 6_000_007, "it ends before that"


def test_attempt_that_was_not_spent_is_not_said_to_have_failed() -> None:
    """The message has as many attempts as before, and this machine lacked something."""
    assert _scheduled(_peer(), attempts=0).message == (
        "No attempt of it counts yet; the next one is not made before the delay is over."
    )
    peer = _peer()
    peer.rests_until = 5_000_000
    assert _scheduled(peer).message == (
        "Attempt 3 is not made before the delay is over; this machine lacked something for the "
        "last attempts to send to http://a."
    )
