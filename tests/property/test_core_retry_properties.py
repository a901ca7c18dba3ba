"""What holds for every delay and every header, not only for the examples."""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.breaker import Signal, classify
from dispatcher.core.clock import WallUs
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy, delay_ms, parse_retry_after
from dispatcher.core.verdict import Dead, DeadReason, Delivered, RetryAt, decide
from dispatcher.testing.clock import FixedRandom

A_YEAR_MS = 365 * 86_400_000
policies = st.builds(
    RetryPolicy,
    retry_limit=st.integers(0, 1000),
    delay_ms=st.integers(0, A_YEAR_MS),
    max_delay_ms=st.integers(0, A_YEAR_MS),
    retry_on=st.frozensets(st.integers(100, 599), max_size=5),
    ack_any_response=st.booleans(),
    ack=st.frozensets(st.integers(300, 599), max_size=5),
)
randoms = st.floats(0, 1).map(FixedRandom)
retries = st.integers(1, 1000)
results = st.builds(
    AttemptResult,
    status=st.none() | st.integers(100, 999),
    failure=st.none() | st.sampled_from(Failure),
    detail=st.just(""),
    duration_ms=st.just(1),
    retry_after=st.none() | st.binary(max_size=40) | st.integers(0, 10**9).map(lambda n: b"%d" % n),
)
NOW = int(datetime(2024, 5, 6, tzinfo=UTC).timestamp()) * 1_000_000


@given(retries, policies, randoms, st.integers(0, 10**18))
def test_delay_keeps_both_bounds(
    n: int, policy: RetryPolicy, random: FixedRandom, asked: int
) -> None:
    """Never above the maximum, never below what was asked for (as far as the maximum allows)."""
    delay = delay_ms(n, policy, random, at_least_ms=asked)
    assert min(asked, policy.max_delay_ms) <= delay <= policy.max_delay_ms


@given(retries, policies, randoms)
def test_delay_is_within_a_fifth_of_the_doubled_one(
    n: int, policy: RetryPolicy, random: FixedRandom
) -> None:
    """The doubled delay, computed without any cleverness."""
    exact = min(policy.delay_ms * 2 ** (n - 1), policy.max_delay_ms)
    delay = delay_ms(n, policy, random)
    assert exact * 0.8 <= delay <= exact * 1.2


@given(st.binary(max_size=60), st.integers(0, 4_000_000_000_000_000))
def test_retry_after_never_raises_and_is_never_negative(value: bytes, now_us: int) -> None:
    """Whatever a destination sends."""
    answer = parse_retry_after(value, now_us)
    assert answer is None or answer >= 0


@given(st.datetimes(datetime(2024, 5, 6), datetime(2070, 1, 1)), st.integers(0, 2))
def test_retry_after_reads_back_every_date(moment: datetime, form: int) -> None:
    """In each of the three forms, against the standard library's writer."""
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    text = (
        email.utils.format_datetime(moment, usegmt=True),
        moment.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        moment.strftime("%a %b ") + f"{moment.day:2} " + moment.strftime("%H:%M:%S %Y"),
    )[form]
    assert parse_retry_after(text.encode(), NOW) == int(moment.timestamp()) * 1000 - NOW // 1000


@given(results, retries, policies, randoms)
def test_verdict_ends_every_message_after_its_last_retry(
    result: AttemptResult, attempt: int, policy: RetryPolicy, random: FixedRandom
) -> None:
    """A retry is given only while there is one, and is due within the bounds."""
    answer = decide(result, attempt, policy, WallUs(NOW), random)
    if isinstance(answer, RetryAt):
        assert attempt <= policy.retry_limit
        assert NOW <= answer.due_us <= NOW + policy.max_delay_ms * 1000
    if answer == Dead(DeadReason.RETRIES_EXHAUSTED):
        assert attempt > policy.retry_limit


@given(results, retries, policies, randoms)
def test_verdict_and_signal_agree(
    result: AttemptResult, attempt: int, policy: RetryPolicy, random: FixedRandom
) -> None:
    """What is delivered is healthy, and what was overloaded is not rejected, unless by a status
    that is final whatever became of its response."""
    answer = decide(result, attempt, policy, WallUs(NOW), random)
    signal = classify(result, policy)
    if answer == Delivered():
        assert signal is Signal.HEALTHY
    if signal is Signal.OVERLOAD:
        assert answer != Delivered()
        if result.status is None or not policy.is_final(result.status):
            assert answer != Dead(DeadReason.REJECTED)
