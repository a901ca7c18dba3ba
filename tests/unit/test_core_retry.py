"""Delays before retries, and every spelling of `Retry-After`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dispatcher.core.retry import RetryPolicy, delay_ms, parse_retry_after
from dispatcher.testing.clock import FixedRandom

POLICY = RetryPolicy(retry_limit=10, delay_ms=2000, max_delay_ms=3_600_000)
MIDDLE, LOW, HIGH = FixedRandom(0.5), FixedRandom(0.0), FixedRandom(1.0)


def us(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """Microseconds since the epoch of a UTC time."""
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 1_000_000


NOW = us(2024, 5, 6, 7, 8, 9)


def test_delay_doubles_with_each_retry_up_to_the_maximum() -> None:
    """2 s, 4, 8 … and then an hour, as RETRY_DELAY and RETRY_MAX_DELAY say."""
    policy = RetryPolicy(retry_limit=1000, delay_ms=2000, max_delay_ms=60_000)
    expected = [2000, 4000, 8000, 16_000, 32_000]
    assert [delay_ms(n, policy, MIDDLE) for n in range(1, 6)] == expected
    assert delay_ms(6, policy, HIGH) == 60_000


@pytest.mark.parametrize(("random", "expected"), [(LOW, 1600), (MIDDLE, 2000), (HIGH, 2400)])
def test_delay_is_spread_by_a_fifth_either_way(random: FixedRandom, expected: int) -> None:
    """Jitter is ±20 %."""
    assert delay_ms(1, POLICY, random) == expected


def test_delay_does_not_overflow_at_the_thousandth_retry() -> None:
    """RETRYLIMIT may be 1000: 2^999 must not become a number of a thousand bits, or an infinity."""
    assert delay_ms(1000, POLICY, HIGH) == 3_600_000
    assert delay_ms(1000, POLICY, LOW) == 2_880_000


def test_delay_is_the_maximum_at_most_when_the_first_delay_is_longer() -> None:
    """RETRY_DELAY above RETRY_MAX_DELAY is cut, not refused."""
    policy = RetryPolicy(retry_limit=1, delay_ms=5000, max_delay_ms=100)
    assert delay_ms(1, policy, HIGH) == 100


def test_delay_may_be_nothing() -> None:
    """RETRY_DELAY=0 tries again at once."""
    assert delay_ms(7, RetryPolicy(retry_limit=9, delay_ms=0, max_delay_ms=0), HIGH) == 0


@pytest.mark.parametrize("random", [LOW, MIDDLE, HIGH])
def test_delay_is_never_below_what_the_destination_asked_for(random: FixedRandom) -> None:
    """Retry-After is a lower bound that jitter does not go below."""
    assert 30_000 <= delay_ms(1, POLICY, random, at_least_ms=30_000) <= 36_000
    assert delay_ms(1, POLICY, random, at_least_ms=1900) >= 1900


def test_delay_spreads_messages_that_were_given_the_same_retry_after() -> None:
    """They do not all come back in the same millisecond."""
    assert delay_ms(1, POLICY, LOW, at_least_ms=30_000) == 30_000
    assert delay_ms(1, POLICY, HIGH, at_least_ms=30_000) == 36_000


def test_delay_is_capped_when_the_destination_asks_for_more() -> None:
    """Retry-After is capped at RETRY_MAX_DELAY: nobody can park a message for a year."""
    assert delay_ms(1, POLICY, HIGH, at_least_ms=10**15) == 3_600_000


@pytest.mark.parametrize(
    ("values", "field"),
    [((-1, 1, 1), "retry_limit"), ((1, -1, 1), "delay_ms"), ((1, 1, -1), "max_delay_ms")],
)
def test_policy_refuses_negative_numbers(values: tuple[int, int, int], field: str) -> None:
    """No invalid policy exists."""
    with pytest.raises(ValueError, match=f"^{field} must not be negative"):
        RetryPolicy(*values)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b"1", 1000),
        (b" 120\t", 120_000),
        (b"00000000000000000000007", 7000),
        (b"000", 0),
    ],
)
def test_retry_after_in_seconds_is_read(value: bytes, expected: int) -> None:
    """Delta-seconds, RFC 9110 §10.2.3."""
    assert parse_retry_after(value, NOW) == expected


def test_retry_after_of_thousands_of_digits_is_only_very_long() -> None:
    """No ValueError of `int`, no time spent on it."""
    answer = parse_retry_after(b"9" * 10_000, NOW)
    assert answer is not None
    assert answer > 10**14


@pytest.mark.parametrize(
    "value",
    [
        b"Mon, 06 May 2024 07:09:09 GMT",
        b"Monday, 06-May-24 07:09:09 GMT",
        b"Mon May  6 07:09:09 2024",
        b"Mon May 06 07:09:09 2024",
        b"Fri, 06 May 2024 07:09:09 GMT",  # the wrong day of the week
        b"  Mon, 06 May 2024 07:09:09 GMT ",
    ],
)
def test_retry_after_as_a_date_is_read_in_all_three_forms(value: bytes) -> None:
    """IMF-fixdate, RFC 850 and asctime, RFC 9110 §5.6.7."""
    assert parse_retry_after(value, NOW) == 60_000


def test_retry_after_date_is_rounded_up_to_a_millisecond() -> None:
    """The retry is not a moment before the date."""
    assert parse_retry_after(b"Mon, 06 May 2024 07:08:10 GMT", NOW + 1) == 1000
    assert parse_retry_after(b"Mon, 06 May 2024 07:08:10 GMT", NOW + 999_999) == 1


def test_retry_after_date_that_has_passed_is_zero() -> None:
    """An old date asks for nothing."""
    assert parse_retry_after(b"Mon, 06 May 2024 07:08:08 GMT", NOW) == 0
    assert parse_retry_after(b"Thu, 01 Jan 1970 00:00:00 GMT", NOW) == 0


def test_retry_after_with_two_digits_of_a_year_is_the_nearest_century() -> None:
    """More than 50 years ahead means the last century (RFC 9110 §5.6.7)."""
    assert parse_retry_after(b"Sunday, 06-Nov-94 08:49:37 GMT", NOW) == 0
    ahead = parse_retry_after(b"Monday, 06-May-74 07:08:09 GMT", NOW)
    assert ahead == (us(2074, 5, 6, 7, 8, 9) - NOW) // 1000


def test_retry_after_with_a_leap_second_is_read() -> None:
    """The grammar allows :60, and `datetime` does not."""
    at = us(2016, 12, 31, 23, 59, 59)
    assert parse_retry_after(b"Sat, 31 Dec 2016 23:59:60 GMT", at) == 1000


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"-1",
        b"+5",
        b"1.5",
        b"1e3",
        b"0x10",
        b"12 34",
        b"5, 6",
        b"soon",
        b"\xff\xfe",
        "\N{ARABIC-INDIC DIGIT THREE}".encode(),
        b"Mon, 06 May 2024 07:09:09",
        b"Mon, 06 May 2024 07:09:09 UTC",
        b"Mon, 06 May 2024 07:09:09 +0000",
        b"Mon, 32 May 2024 07:09:09 GMT",
        b"Mon, 31 Feb 2024 07:09:09 GMT",
        b"Mon, 06 May 2024 25:09:09 GMT",
        b"Mon, 06 May 2024 07:09:61 GMT",
        b"Mon, 06 May 0000 07:09:09 GMT",
        b"mon, 06 may 2024 07:09:09 gmt",
        b"Mon, 06 May 2024 07:09:09 GMT, 5",
        b"2024-05-06T07:09:09Z",
    ],
)
def test_retry_after_that_is_garbage_is_not_there(value: bytes) -> None:
    """It is as if the header were missing; nothing is raised."""
    assert parse_retry_after(value, NOW) is None
