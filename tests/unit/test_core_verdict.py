"""The outcome table, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dispatcher.core.clock import WallUs
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.verdict import (
    Dead,
    DeadReason,
    Delivered,
    NotSpent,
    RetryAt,
    RetryPolicy,
    Verdict,
    decide,
)
from dispatcher.testing.clock import FixedRandom

NOW = 1_700_000_000_000_000
MIDDLE = FixedRandom(0.5)
POLICY = RetryPolicy(retry_limit=2, delay_ms=1000, max_delay_ms=60_000)
REJECTED = Dead(DeadReason.REJECTED)
EXHAUSTED = Dead(DeadReason.RETRIES_EXHAUSTED)
FIRST_RETRY = RetryAt(WallUs(NOW + 1_000_000))

TRIED_AGAIN = [408, 425, 429, *(code for code in range(500, 600) if code != 501)]
DEAD_AT_ONCE = [501, *(code for code in range(300, 500) if code not in TRIED_AGAIN)]


def response(
    status: int | None, failure: Failure | None = None, retry_after: bytes | None = None
) -> AttemptResult:
    """A result of which only what the table looks at matters."""
    return AttemptResult(status, failure, "", 1, retry_after)


def verdict(result: AttemptResult, attempt: int = 1, policy: RetryPolicy = POLICY) -> Verdict:
    """Decide without luck."""
    return decide(result, attempt, policy, WallUs(NOW), MIDDLE)


def test_every_complete_2xx_is_delivered() -> None:
    """Any 2xx."""
    assert {verdict(response(status)) for status in range(200, 300)} == {Delivered()}


def test_statuses_worth_asking_again_are_scheduled() -> None:
    """408, 425, 429, 5xx except 501."""
    assert {verdict(response(status)) for status in TRIED_AGAIN} == {FIRST_RETRY}


def test_all_other_statuses_are_dead_at_once() -> None:
    """501 and every other 3xx and 4xx, redirects included."""
    assert {verdict(response(status)) for status in DEAD_AT_ONCE} == {REJECTED}


@pytest.mark.parametrize("status", [0, 100, 199, 600, 999])
def test_statuses_that_are_none_are_treated_as_5xx(status: int) -> None:
    """RFC 9110 §15: a status code that is out of range is handled like a 5xx."""
    assert verdict(response(status)) == FIRST_RETRY


@pytest.mark.parametrize("failure", [f for f in Failure if f is not Failure.EGRESS])
def test_every_failure_is_scheduled(failure: Failure) -> None:
    """No connection, DNS, TLS, timeout, broken response."""
    assert verdict(response(None, failure)) == FIRST_RETRY


@pytest.mark.parametrize("failure", [Failure.BROKEN, Failure.TIMEOUT])
@pytest.mark.parametrize("status", [200, 204, 408, 429, 500, 503])
def test_response_that_broke_off_is_scheduled(failure: Failure, status: int) -> None:
    """A 2xx whose body was cut short, or still dripped at the timeout, is not a delivery."""
    assert verdict(response(status, failure)) == FIRST_RETRY


@pytest.mark.parametrize("failure", [Failure.BROKEN, Failure.TIMEOUT])
@pytest.mark.parametrize("status", [301, 400, 404, 413, 501])
def test_final_status_decides_alone_when_its_response_broke_off(
    failure: Failure, status: int
) -> None:
    """A 400 to a large upload, then a reset: sending all of it again gets another 400. RETRY_ON
    counts, and an answer to a request that we broke off ourselves does not."""
    assert verdict(response(status, failure)) == REJECTED
    again = RetryPolicy(2, 1000, 60_000, frozenset({status}))
    assert isinstance(verdict(response(status, failure), 1, again), RetryAt)
    ours = replace(response(status, failure), ours=True)
    assert isinstance(verdict(ours), NotSpent)


@pytest.mark.parametrize("attempt", [1, 3, 1000])
def test_what_this_machine_lacks_spends_no_attempt(attempt: int) -> None:
    """However many there were: it is made again after a rest, which RETRY_MAX_DELAY bounds, and
    which is not RETRY_DELAY."""
    lacking = replace(response(None, Failure.CONNECTION), ours=True)
    assert verdict(lacking, attempt) == NotSpent(WallUs(NOW + 1_000_000))
    assert verdict(lacking, attempt, RetryPolicy(2, 50_000, 300)) == NotSpent(WallUs(NOW + 300_000))


def test_message_that_is_too_old_is_not_tried_again() -> None:
    """It is looked at again when it will be; what is final is final all the same."""

    def judged(result: AttemptResult, expires_us: int) -> Verdict:
        return decide(result, 1, POLICY, WallUs(NOW), MIDDLE, expires_us=WallUs(expires_us))

    ours = replace(response(None, Failure.CONNECTION), ours=True)
    for result in (response(500), ours):
        assert judged(result, NOW) == Dead(DeadReason.EXPIRED)
    assert judged(response(500), NOW + 1) == RetryAt(WallUs(NOW + 1))
    assert judged(ours, NOW + 1) == NotSpent(WallUs(NOW + 1))
    assert judged(response(500), NOW + 10_000_000) == FIRST_RETRY
    assert judged(response(200), NOW) == Delivered()
    assert judged(response(404), NOW) == REJECTED


def test_egress_denied_is_dead_at_once_even_when_every_response_counts() -> None:
    """Asking again would be refused again, and there was no response."""
    anything = RetryPolicy(2, 1000, 60_000, frozenset({404}), ack_any_response=True)
    for policy in (POLICY, anything):
        assert verdict(response(None, Failure.EGRESS), 1, policy) == Dead(DeadReason.EGRESS_DENIED)


@pytest.mark.parametrize(("attempt", "expected_delay_us"), [(1, 1_000_000), (2, 2_000_000)])
def test_retries_are_given_until_the_limit(attempt: int, expected_delay_us: int) -> None:
    """One first try and RETRYLIMIT retries, each after a doubled delay."""
    assert verdict(response(500), attempt) == RetryAt(WallUs(NOW + expected_delay_us))


def test_last_retry_failing_is_the_end() -> None:
    """With RETRYLIMIT=2 the third attempt is the last."""
    assert verdict(response(500), 3) == EXHAUSTED
    assert verdict(response(None, Failure.TIMEOUT), 3) == EXHAUSTED


def test_no_retry_is_given_when_there_are_none() -> None:
    """RETRYLIMIT=0: one attempt."""
    assert verdict(response(503), 1, RetryPolicy(0, 1000, 60_000)) == EXHAUSTED


def test_rejection_stays_a_rejection_at_the_last_attempt() -> None:
    """The reason names what ended it."""
    assert verdict(response(404), 3) == REJECTED


def test_retry_on_wins_over_dead_at_once() -> None:
    """RETRY_ON=404,501,302 tries those again."""
    policy = RetryPolicy(2, 1000, 60_000, frozenset({404, 501, 302}))
    for status in (404, 501, 302):
        assert verdict(response(status), 1, policy) == FIRST_RETRY
        assert verdict(response(status), 3, policy) == EXHAUSTED
    assert verdict(response(403), 1, policy) == REJECTED


def test_retry_on_does_not_undo_a_delivery() -> None:
    """RETRY_ON adds codes to what is tried again; any 2xx is delivered."""
    assert verdict(response(202), 1, RetryPolicy(2, 1, 1, frozenset({202}))) == Delivered()


@pytest.mark.parametrize("status", [100, 200, 302, 404, 429, 500, 501, 503])
def test_any_response_is_delivered_when_asked_for(status: int) -> None:
    """ACK_ANY_RESPONSE=true, also over RETRY_ON, and when the response broke off after its head."""
    policy = RetryPolicy(2, 1000, 60_000, frozenset({status}), ack_any_response=True)
    assert verdict(response(status), 1, policy) == Delivered()
    assert verdict(response(status, Failure.BROKEN), 1, policy) == Delivered()


def test_no_response_is_not_any_response() -> None:
    """With ACK_ANY_RESPONSE, a connection that failed is still tried again."""
    policy = RetryPolicy(2, 1000, 60_000, ack_any_response=True)
    assert verdict(response(None, Failure.CONNECTION), 1, policy) == FIRST_RETRY


@pytest.mark.parametrize(
    ("retry_after", "expected_ms"),
    [(b"30", 33_000), (b"0", 1000), (b"garbage", 1000), (b"-5", 1000), (b"86400", 60_000)],
)
def test_retry_after_moves_the_retry(retry_after: bytes, expected_ms: int) -> None:
    """A lower bound, capped at RETRY_MAX_DELAY; garbage is as if it were missing."""
    answer = verdict(response(503, retry_after=retry_after))
    assert answer == RetryAt(WallUs(NOW + expected_ms * 1000))


@pytest.mark.parametrize("status", [302, 404, 409, 429, 500, 501, 503])
@pytest.mark.parametrize("failure", [None, Failure.BROKEN, Failure.TIMEOUT])
def test_statuses_of_ack_are_delivered(status: int, failure: Failure | None) -> None:
    """Whatever they would come to otherwise, and whatever became of their body; others are not."""
    policy = replace(POLICY, ack=frozenset((status,)))
    assert verdict(response(status, failure), policy=policy) == Delivered()
    assert verdict(response(status, failure), attempt=3, policy=policy) == Delivered()
    other = 400 if status != 400 else 401
    assert verdict(response(other), policy=policy) == REJECTED
    assert verdict(response(200, Failure.BROKEN), policy=policy) == FIRST_RETRY
