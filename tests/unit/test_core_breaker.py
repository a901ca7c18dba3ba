"""The breaker's table, and what each result says about a destination."""

from __future__ import annotations

import pytest

from dispatcher.core.breaker import (
    FAILURES_TO_OPEN,
    TRANSITIONS,
    Breaker,
    Event,
    Signal,
    State,
    classify,
)
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy

SECOND = 1_000_000
POLICY = RetryPolicy(2, 1000, 60_000)
HEALTHY, NEUTRAL, FAILURE, OVERLOAD = (
    Signal.HEALTHY,
    Signal.NEUTRAL,
    Signal.FAILURE,
    Signal.OVERLOAD,
)


def opened(at_us: int = 10, longest_pause_ms: int = 3_600_000) -> Breaker:
    """A breaker that ten failures opened at `at_us`."""
    breaker = Breaker(longest_pause_ms)
    for _ in range(FAILURES_TO_OPEN):
        breaker.finish(FAILURE, at_us - 1, at_us)
    assert breaker.state is State.OPEN
    return breaker


def probe(breaker: Breaker, signal: Signal) -> int:
    """Send one probe as soon as it is allowed, let it end 10 µs later; return when it did."""
    start = breaker.open_until_us
    breaker.start(start)
    assert breaker.finish(signal, start, start + 10)
    return start + 10


@pytest.mark.parametrize("signal", [FAILURE, OVERLOAD])
def test_tenth_failure_in_a_row_opens(signal: Signal) -> None:
    """Not the ninth; overloads and other failures count alike."""
    breaker = Breaker()
    assert [breaker.finish(signal, n, n + 1) for n in range(10)] == [False] * 9 + [True]
    assert breaker.state is State.OPEN


def test_success_starts_the_count_anew() -> None:
    """Ten in a row, not ten in all."""
    breaker = Breaker()
    for _ in range(3):
        for _ in range(9):
            breaker.finish(FAILURE, 1, 2)
        breaker.finish(HEALTHY, 1, 2)
    assert breaker.state is State.CLOSED


def test_neutral_results_neither_count_nor_forgive() -> None:
    """What says nothing changes nothing."""
    breaker = Breaker()
    for _ in range(9):
        assert not breaker.finish(FAILURE, 1, 2)
        assert not breaker.finish(NEUTRAL, 1, 2)
    assert breaker.finish(FAILURE, 1, 2)
    assert breaker.state is State.OPEN


def test_nothing_is_admitted_during_the_pause() -> None:
    """And the first moment after it is."""
    breaker = opened(at_us=10)
    assert breaker.open_until_us == 10 + SECOND
    assert not breaker.admits(10 + SECOND - 1)
    assert breaker.admits(10 + SECOND)


def test_start_is_refused_while_nothing_is_admitted() -> None:
    """A scheduler that does not ask is a mistake, and shows."""
    breaker = opened(at_us=10)
    with pytest.raises(ValueError, match="open"):
        breaker.start(11)
    breaker.start(10 + SECOND)
    with pytest.raises(ValueError, match="half_open"):
        breaker.start(10 + SECOND)


def test_one_probe_goes_after_the_pause_and_no_second() -> None:
    """Whatever the time, while the probe is under way."""
    breaker = opened()
    breaker.start(breaker.open_until_us)
    assert breaker.state is State.HALF_OPEN
    assert not breaker.admits(breaker.open_until_us + 1000 * SECOND)


def test_pauses_double_up_to_thirty_seconds() -> None:
    """1, 2, 4, 8, 16, 30, 30 …"""
    breaker = opened(at_us=10)
    pauses = [breaker.open_until_us - 10]
    for _ in range(7):
        ended = probe(breaker, FAILURE)
        pauses.append(breaker.open_until_us - ended)
    assert pauses == [s * SECOND for s in (1, 2, 4, 8, 16, 30, 30, 30)]


def test_pauses_are_never_longer_than_the_longest_retry_delay() -> None:
    """RETRY_MAX_DELAY=1500."""
    breaker = opened(at_us=10, longest_pause_ms=1500)
    assert breaker.open_until_us == 10 + SECOND
    ended = probe(breaker, FAILURE)
    assert breaker.open_until_us == ended + 1_500_000


def test_successful_probe_closes_and_forgets() -> None:
    """Ten new failures are needed, and the pause begins at one second again."""
    breaker = opened()
    probe(breaker, FAILURE)
    ended = probe(breaker, HEALTHY)
    assert breaker.state is State.CLOSED
    for _ in range(9):
        breaker.finish(FAILURE, ended + 1, ended + 2)
    assert breaker.state is State.CLOSED
    breaker.finish(FAILURE, ended + 1, ended + 2)
    assert breaker.open_until_us == ended + 2 + SECOND


def test_neutral_probe_is_followed_by_another_at_once() -> None:
    """It told nothing, so the pause that is over is not served again."""
    breaker = opened()
    ended = probe(breaker, NEUTRAL)
    assert breaker.state is State.OPEN
    assert breaker.admits(ended)
    probe(breaker, FAILURE)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("signal", list(Signal))
def test_late_results_of_earlier_attempts_are_ignored_while_open(signal: Signal) -> None:
    """They started before it opened: neither a longer pause nor an early end."""
    breaker = opened(at_us=100)
    assert not breaker.finish(signal, 50, 200)
    assert not breaker.finish(signal, 100, 200)
    assert breaker.state is State.OPEN
    assert breaker.open_until_us == 100 + SECOND


@pytest.mark.parametrize("signal", list(Signal))
def test_late_results_are_not_taken_for_the_probe(signal: Signal) -> None:
    """The probe alone ends the half-open state."""
    breaker = opened(at_us=100)
    start = breaker.open_until_us
    breaker.start(start)
    assert not breaker.finish(signal, 50, start + 5)
    assert breaker.state is State.HALF_OPEN


def test_late_failures_do_not_count_after_it_closed() -> None:
    """A crowd of old timeouts does not open it again."""
    breaker = opened(at_us=100)
    ended = probe(breaker, HEALTHY)
    for _ in range(50):
        breaker.finish(OVERLOAD, 50, ended + 1)
    assert breaker.state is State.CLOSED


def test_pause_of_nothing_still_sends_one_probe_at_a_time() -> None:
    """RETRY_MAX_DELAY=0: no time passes between the failure, the probe and its end."""
    breaker = opened(at_us=100, longest_pause_ms=0)
    breaker.start(100)
    assert not breaker.admits(100)
    assert breaker.finish(HEALTHY, 100, 100)
    assert breaker.state is State.CLOSED


def test_table_names_every_state_and_event() -> None:
    """Nothing is left over, and no state is a dead end."""
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert set(TRANSITIONS.values()) == set(State)


def signal(status: int | None, failure: Failure | None = None) -> Signal:
    """Classify with the default policy."""
    return classify(AttemptResult(status, failure, "", 1), POLICY)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([429, 503], OVERLOAD),
        ([500, 501, 502, 504, 507, 599, 600, 100], FAILURE),
        ([408, 425], NEUTRAL),
        ([200, 204, 301, 302, 304, 400, 401, 403, 404, 409, 410, 422, 451], HEALTHY),
    ],
)
def test_status_is_classified(statuses: list[int], expected: Signal) -> None:
    """Too many requests, ill, about the connection, and about the message."""
    assert {signal(status) for status in statuses} == {expected}


@pytest.mark.parametrize("status", [None, 200, 408, 500])
@pytest.mark.parametrize("failure", [f for f in Failure if f is not Failure.EGRESS])
def test_failure_is_an_overload_whatever_the_status(failure: Failure, status: int | None) -> None:
    """Connection, DNS, TLS, broken, timeout."""
    assert signal(status, failure) is OVERLOAD


def test_refusal_that_broke_off_is_a_refusal() -> None:
    """A 400 before the whole request was read is often followed by a reset: not an overload. A slow
    one is."""
    assert signal(400, Failure.BROKEN) is HEALTHY
    assert signal(501, Failure.BROKEN) is FAILURE
    assert signal(400, Failure.TIMEOUT) is OVERLOAD


def test_egress_denied_says_nothing_about_the_destination() -> None:
    """Nobody was asked."""
    assert signal(None, Failure.EGRESS) is NEUTRAL


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, NEUTRAL),
        (302, NEUTRAL),
        (503, OVERLOAD),
        (500, FAILURE),
        (501, FAILURE),
        (202, HEALTHY),
    ],
)
def test_status_in_retry_on_is_neutral_unless_it_is_a_failure(
    status: int, expected: Signal
) -> None:
    """An operator who lists 404 does not say that 503 is no overload."""
    policy = RetryPolicy(2, 1000, 60_000, frozenset({status}))
    assert classify(AttemptResult(status, None, "", 1), policy) is expected


@pytest.mark.parametrize("status", [200, 302, 404, 408, 429, 500, 503])
def test_every_response_is_healthy_when_every_response_counts(status: int) -> None:
    """ACK_ANY_RESPONSE: what is delivered is no failure."""
    policy = RetryPolicy(2, 1000, 60_000, ack_any_response=True)
    assert classify(AttemptResult(status, None, "", 1), policy) is HEALTHY
    assert classify(AttemptResult(None, Failure.TIMEOUT, "", 1), policy) is OVERLOAD


@pytest.mark.parametrize("status", [302, 404, 408, 429, 500, 503])
def test_a_status_of_ack_is_healthy_and_others_are_not(status: int) -> None:
    """What a rule takes for delivered is no failure of its destination."""
    policy = RetryPolicy(2, 1000, 60_000, ack=frozenset({status}))
    assert classify(AttemptResult(status, None, "", 1), policy) is HEALTHY
    assert classify(AttemptResult(502, None, "", 1), policy) is FAILURE


def test_probe_now_ends_a_pause_and_forgets_no_failure() -> None:
    """The next attempt is the probe; when it fails the pause is twice as long as the one before."""
    breaker = opened(at_us=10)
    assert not breaker.admits(20)
    breaker.probe_now(20)
    assert breaker.admits(20)
    breaker.start(20)
    breaker.probe_now(25)  # one is under way
    assert not breaker.admits(25)
    assert breaker.finish(FAILURE, 20, 30)
    assert breaker.open_until_us == 30 + 2 * SECOND


def test_probe_now_changes_nothing_of_what_is_closed() -> None:
    """Failures are counted on."""
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.finish(FAILURE, 1, 2)
    breaker.probe_now(3)
    assert breaker.state is State.CLOSED
    assert breaker.finish(FAILURE, 4, 5)
