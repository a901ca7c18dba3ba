"""The token bucket, against one that counts in fractions, and over a simulated minute."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.rate import Bucket, Rate, parse_rate

rates = st.builds(
    Rate, st.integers(1, 10_000), st.integers(1, 86_400_000_000), st.integers(1, 1000)
)


@given(rates, st.lists(st.tuples(st.integers(0, 10**11), st.booleans()), max_size=50))
def test_a_bucket_is_what_fractions_of_tokens_make_it(
    rate: Rate, steps: list[tuple[int, bool]]
) -> None:
    """Nothing is rounded, however odd the rate: a token is there when it is there, and not before.
    `opens_at` is the first microsecond at which one can be taken."""
    bucket, now, tokens = Bucket(rate), 0, Fraction(rate.burst)
    of_a_microsecond = Fraction(rate.count, rate.period_us)
    for passed, to_the_token in steps:
        step = max(0, bucket.opens_at(now) - now) if to_the_token else passed
        now += step
        tokens += step * of_a_microsecond
        if tokens >= rate.burst + of_a_microsecond:
            tokens = Fraction(rate.burst)
        assert bucket.tokens(now) == min(int(tokens), rate.burst)
        assert (bucket.opens_at(now) <= now) == (tokens >= 1)
        assert bucket.is_full(now) == (tokens >= rate.burst)
        if tokens >= 1:
            bucket.take(now)
            tokens -= 1
        else:
            opens = bucket.opens_at(now)
            missing = (1 - tokens) * rate.period_us / rate.count
            assert opens == now - (-missing.numerator // missing.denominator)


@pytest.mark.parametrize(
    ("text", "burst", "starts"),
    [("50/s", 50, 3000), ("10/1m", 1, 10), ("7/3s", 2, 140), ("90/m", 1, 90), ("999/h", 1, 999)],
)
def test_a_rate_is_exact_over_its_time(text: str, burst: int, starts: int) -> None:
    """Whoever takes every token as soon as it is there gets `starts` in every minute (or hour) once
    the burst is gone, for a day, not one more or less."""
    rate = parse_rate(text)
    assert rate is not None
    bucket = Bucket(Rate(rate.count, rate.period_us, burst))
    span = 3_600_000_000 if text.endswith("h") else 60_000_000
    now = 1_000_000_000_000
    for _ in range(burst):
        bucket.take(now)
    begin, end = now, now + 20 * span
    counts = [0] * 20
    while True:
        now = max(now, bucket.opens_at(now))
        if now > end:
            break
        bucket.take(now)
        counts[(now - begin - 1) // span] += 1
    assert counts == [starts] * 20


@given(rates, rates, st.lists(st.integers(0, 10**9), max_size=20))
def test_another_rate_begins_with_the_tokens_that_are_there(
    old: Rate, new: Rate, steps: list[int]
) -> None:
    """No second burst for whoever changes a rate, and none that was there is taken away."""
    bucket, now = Bucket(old), 0
    for step in steps:
        now += step
        if bucket.opens_at(now) <= now:
            bucket.take(now)
    before = bucket.tokens(now)
    bucket.change(new, now)
    assert bucket.rate == new
    if new != old:
        assert bucket.tokens(now) == min(before, new.burst)


@given(
    st.integers(1, 1000), st.integers(1, 5), st.lists(st.floats(0, 0.99), min_size=30, max_size=60)
)
def test_whoever_waits_loses_nothing_by_timers_that_are_late(
    count: int, burst: int, late: list[float]
) -> None:
    """Each token is taken late by a part of the time between two; there are as many as if none
    were, and never more than the rate and the burst allow."""
    rate = Rate(count, 60_000_000, burst)
    bucket = Bucket(rate)
    for _ in range(burst):
        bucket.take(0)
    each_us = rate.period_us / rate.count
    for number, part in enumerate(late, start=1):
        now = bucket.opens_at(0) + int(part * each_us)
        assert bucket.opens_at(now) <= now
        bucket.is_awaited = True
        bucket.take(now)
        assert now >= int(number * each_us)
        assert bucket.opens_at(now) == -(-(number + 1) * rate.period_us // rate.count)


def test_a_rest_is_none_of_waiting() -> None:
    """Who waited, and then took nothing for longer than a token takes, has no part of another."""
    bucket = Bucket(Rate(1, 1000))
    bucket.take(0)
    bucket.is_awaited = True
    bucket.take(5000)
    assert bucket.opens_at(5000) == 6000


def test_a_bucket_that_was_never_used_is_full() -> None:
    """A burst may start at any instant of the clock, the first one too."""
    for now in (0, 5, 10**15):
        assert Bucket(Rate(1, 60_000_000, 3)).tokens(now) == 3


@given(st.text(max_size=12) | st.from_regex(r"[0-9]{0,12}/[0-9]{0,9}[smhdw]?", fullmatch=True))
def test_a_rate_is_read_or_refused(text: str) -> None:
    """Nothing but a rate is one; what was read is shown so that it is read as the same."""
    rate = parse_rate(text)
    if rate is not None:
        assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(
    ("text", "count", "period_us"),
    [
        ("50/s", 50, 1_000_000),
        ("10/1m", 10, 60_000_000),
        ("3/15m", 3, 900_000_000),
        ("1/h", 1, 3_600_000_000),
        ("1000/1d", 1000, 86_400_000_000),
    ],
)
def test_rates_have_a_number_and_a_time(text: str, count: int, period_us: int) -> None:
    """Seconds, minutes, hours and days, one of them or several."""
    assert parse_rate(text) == Rate(count, period_us)


@pytest.mark.parametrize("text", ["", "50", "/s", "0/s", "5/0s", "5 /s", "1.5/s", "-1/s", "5/ms"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    """Fractions and nothing at all are none."""
    assert parse_rate(text) is None
