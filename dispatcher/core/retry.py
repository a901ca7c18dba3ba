"""When to try again: exponential backoff with jitter, and the destination's `Retry-After`.

Pure: the random source and the time come in as arguments. `core.verdict` decides whether there is
another attempt at all; this file only says after how long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate

from dispatcher.core.clock import Random
from dispatcher.core.instants import moment, since_epoch_us

_MAX_DELTA_DIGITS = 12
"""Digits that are looked at. Twelve are 30 000 years; no limit is anywhere near."""

# RFC 9110 5.6.7: IMF-fixdate, RFC 850, asctime. What reads dates of mail takes much more than that,
# zones and dates without a time among it.
_DATE = re.compile(
    r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [1-9][0-9]{3} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
    r"|[A-Z][a-z]{5,8}, [0-9]{2}-[A-Z][a-z]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [0-9 ][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [1-9][0-9]{3}"
)
_LEAP_SECOND = 60
_ASK_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What the settings say about trying again.

    `retry_limit` retries follow the first attempt at most, 0 for none. `delay_ms` comes before the
    first retry, doubled before each later one, never above `max_delay_ms` (both 0 or more; a
    `delay_ms` above the maximum is cut to it). `retry_on` holds status codes that are tried again
    although the table would dead-letter them, `ack` those that count as delivered. With
    `ack_any_response` every response does.

    Raises:
        ValueError: a number is negative.
    """

    retry_limit: int
    delay_ms: int
    max_delay_ms: int
    retry_on: frozenset[int] = frozenset()
    ack_any_response: bool = False
    ack: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name in ("retry_limit", "delay_ms", "max_delay_ms"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}")

    def acks(self, status: int) -> bool:
        """Say whether a response counts as delivered that is not a 2xx."""
        return self.ack_any_response or status in self.ack

    def is_final(self, status: int) -> bool:
        """Say whether asking again after this status, not a 2xx, would not help."""
        if status in self.retry_on or status in _ASK_AGAIN:
            return False
        # A number outside 200…599 is no final status at all; RFC 9110 §15 has it treated as a 5xx.
        return status == 501 or 300 <= status <= 499


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
    date_us = _date_us(value.decode("latin-1"), now_us)
    return None if date_us is None else max(0, (date_us - now_us + 999) // 1000)


def _delta_ms(digits: bytes) -> int:
    # Cut, because `int` raises ValueError for some thousands of digits.
    return int(digits.lstrip(b"0")[:_MAX_DELTA_DIGITS] or b"0") * 1000


def _date_us(text: str, now_us: int) -> int | None:
    # The name of the day is not compared with the date: it adds nothing, and senders that get it
    # wrong mean the date.
    found = parsedate(text) if _DATE.fullmatch(text) else None
    if found is None:
        return None
    year, month, day, hour, minute, second, *_ = found
    if text.find("-") >= 0:
        year = _full_year(year % 100, now_us)
    leap = second == _LEAP_SECOND  # which `datetime` does not know
    try:
        date = datetime(year, month, day, hour, minute, second - leap, tzinfo=UTC)
    except ValueError:
        return None  # 31 February, 25 o'clock
    return since_epoch_us(date) + leap * 1_000_000


def _full_year(two_digits: int, now_us: int) -> int:
    """A year that seems more than 50 years ahead is the latest past one (RFC 9110 §5.6.7)."""
    this_year = moment(now_us).year
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year
