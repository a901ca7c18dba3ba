"""The sentence that says why a message is not sent yet."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dispatcher.core.breaker import State
from dispatcher.core.clock import QueueUs, WallUs
from dispatcher.queue.admin.explaining import (
    Why,
    waits_for,
    waits_for_its_time,
    waits_for_turn,
    waits_in_line,
    with_options,
)
from dispatcher.queue.admin.surface import Reason
from dispatcher.queue.lanes.chains import MOST_BEFORE
from dispatcher.queue.lanes.gates import Closed, Gate
from dispatcher.queue.lanes.lines import InLine
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


def test_delay_that_the_destination_asked_for_is_said_to_be_so() -> None:
    """With Retry-After; not where its own delay ends before that, nor once that time is over."""
    peer = _peer()
    peer.asked_until = 5_000_000
    assert _scheduled(peer).message == (
        "Attempt 2 failed; the next one is not made before the delay is over. http://a asked for "
        "that, with Retry-After: not before 1970-01-01T00:00:05.000Z."
    )
    for others_us in (1_000_000, 7_000_001):
        peer.asked_until = others_us
        assert "Retry-After" not in _scheduled(peer).message


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


def test_message_that_is_to_be_sent_later_is_told_so() -> None:
    """It did not fail: its caller wanted it so."""
    why = waits_for_its_time(
        Closed(Gate.TIME, 6_000_000),
        _peer(),
        now_us=QueueUs(1_000_000),
        attempts=0,
        before=0,
        to_wall=_later(7),
        is_asked_for=True,
    )
    assert (why.reason, why.until_us, why.expected_us) == (Reason.SCHEDULED, 6_000_007, 6_000_007)
    assert why.message == (
        "Its caller asked for it later, with X-Dispatcher-Delay or X-Dispatcher-Not-Before."
    )


@pytest.mark.parametrize(("second", "expected"), [(7, 6_000_007), (6, None)])
def test_deadline_and_retries_of_a_message_are_told(second: int, expected: int | None) -> None:
    """No attempt is expected after the deadline."""
    deadline = f"1970-01-01T00:00:0{second}.000000Z"
    why = with_options(_scheduled(_peer()), {"deadline": deadline, "retries": "3", "label": "x"})
    assert why.message == (
        "Attempt 2 failed; the next one is not made before the delay is over. Retries after its "
        f"first attempt, by X-Dispatcher-Retries: 3 at most. It is given up at its deadline, "
        f"{deadline}."
    )
    assert (why.until_us, why.expected_us) == (6_000_007, expected)
    assert with_options(_scheduled(_peer()), {}) == _scheduled(_peer())


def test_delay_of_a_message_behind_its_order_key_is_told() -> None:
    """It is not sent when its turn comes, but when both are over; a scheduled one says so."""
    options = {"not_before": "2026-01-01T00:00:00.000000Z"}
    behind = Why(Reason.ORDER_KEY, "Others are before it.")
    assert with_options(behind, options).message == (
        "Others are before it. Its first attempt is not made before 2026-01-01T00:00:00.000000Z "
        "either."
    )
    assert with_options(_scheduled(_peer()), options) == _scheduled(_peer())


@pytest.mark.parametrize(
    ("letters", "letter", "text"),
    [
        (1, b"", "held by a dead letter of it until that is redriven or purged"),
        (1, b"a1", "held by a dead letter of it (a1) until that is redriven or purged"),
        (2, b"", "held by 2 dead letters of it until they are redriven or purged"),
        (2, b"a1", "held by 2 dead letters of it (one is a1) until they are redriven or purged"),
    ],
)
def test_key_that_is_held_names_what_holds_it(letters: int, letter: bytes, text: str) -> None:
    """And how many messages are before."""
    assert waits_in_line(InLine("k", 1, letters, letter=letter), to_wall=_later(0)) == Why(
        Reason.ORDER_KEY, f"Its order key k is {text}; one message of its key is before it."
    )
