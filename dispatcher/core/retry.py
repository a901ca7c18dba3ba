"""When to try again: exponential backoff with jitter, and the destination's `Retry-After`.

Pure: the random source and the time come in as arguments. `core.verdict` decides whether there is
another attempt at all; this file only says after how long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dispatcher.core.clock import Random

_MAX_DELTA_DIGITS = 12
"""Digits that are looked at. Twelve are 30 000 years; no limit is anywhere near."""

_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_NAMES = {
    b"day": rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
    b"weekday": rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day",
    b"date": rb"(?P<day>[0-9]{2}| [0-9])",
    b"month": rb"(?P<month>" + b"|".join(_MONTHS) + rb")",
    b"year": rb"(?P<year>[0-9]{4})",
    b"yy": rb"(?P<year>[0-9]{2})",
    b"time": rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})",
}
_DATES = tuple(
    re.compile(form % _NAMES)
    for form in (
        # RFC 9110 §5.6.7: IMF-fixdate, RFC 850, asctime. The name of the day is not compared with
        # the date: it adds nothing, and senders that get it wrong mean the date.
        b"%(day)s, %(date)s %(month)s %(year)s %(time)s GMT",
        b"%(weekday)s, %(date)s-%(month)s-%(yy)s %(time)s GMT",
        b"%(day)s %(month)s %(date)s %(time)s %(year)s",
    )
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What the settings say about trying again.

    `retry_limit` retries follow the first attempt at most, 0 for none. `delay_ms` comes before the
    first retry, doubled before each later one, never above `max_delay_ms` (both 0 or more; a
    `delay_ms` above the maximum is cut to it). `retry_on` holds status codes that are tried again
    although the table would dead-letter them. With `ack_any_response` every response counts as
    delivered.

    Raises:
        ValueError: a number is negative.
    """

    retry_limit: int
    delay_ms: int
    max_delay_ms: int
    retry_on: frozenset[int] = frozenset()
    ack_any_response: bool = False

    def __post_init__(self) -> None:
        for name in ("retry_limit", "delay_ms", "max_delay_ms"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}")


def delay_ms(n: int, policy: RetryPolicy, random: Random, *, at_least_ms: int = 0) -> int:
    """Choose the delay before retry `n` (from 1), in milliseconds.

    The delay is `policy.delay_ms` * 2^(n-1), or `at_least_ms` where that is more (what the
    destination asked for; cut to the maximum), with a jitter of ±20 %. The jitter is drawn from the
    part of that range that is allowed, not cut off afterwards: messages that wait for the same
    `Retry-After`, or that have all reached the maximum, would otherwise come back in one crowd.

    Returns:
        At least `at_least_ms`, and at most `policy.max_delay_ms` in any case.
    """
    maximum = policy.max_delay_ms
    floor = min(at_least_ms, maximum)
    base = max(_backoff_ms(n, policy.delay_ms, maximum), floor)
    low = max((base * 4 + 4) // 5, floor)
    high = min(base * 6 // 5, maximum)
    return int(random.uniform(low, high))


def _backoff_ms(n: int, first: int, maximum: int) -> int:
    # Doublings beyond the maximum's bits change nothing, but would make numbers of a thousand bits.
    doublings = min(n - 1, maximum.bit_length())
    return min(first << doublings, maximum)


def parse_retry_after(value: bytes, now_us: int) -> int | None:
    """Read a `Retry-After` field value (RFC 9110 §10.2.3): seconds, or a date in one of three
    forms.

    Args:
        value: the raw field value; blanks around it do not matter.
        now_us: microseconds since the epoch, which a date is measured from.

    Returns:
        Milliseconds from now, 0 for a date that has passed, None for anything that is neither form.
        There is no upper bound: `delay_ms` has the limit.
    """
    value = value.strip(b" \t")
    if value.isdigit():
        return _delta_ms(value)
    for form in _DATES:
        match = form.fullmatch(value)
        if match is not None:
            date_us = _date_us(match, now_us)
            return None if date_us is None else max(0, (date_us - now_us + 999) // 1000)
    return None


def _delta_ms(digits: bytes) -> int:
    # Cut, because `int` raises ValueError for some thousands of digits.
    return int(digits.lstrip(b"0")[:_MAX_DELTA_DIGITS] or b"0") * 1000


def _date_us(match: re.Match[bytes], now_us: int) -> int | None:
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _full_year(year, now_us)
    try:
        # A leap second is written as :60, which `datetime` does not know.
        leap = match["second"] == b"60"
        date = datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            59 if leap else int(match["second"]),
            tzinfo=UTC,
        )
    except ValueError:
        return None  # 31 February, 25 o'clock
    return ((date - _EPOCH) // timedelta(microseconds=1)) + (1_000_000 if leap else 0)


def _full_year(two_digits: int, now_us: int) -> int:
    """A year that seems more than 50 years ahead is the latest past one (RFC 9110 §5.6.7)."""
    this_year = (_EPOCH + timedelta(microseconds=now_us)).year
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year
