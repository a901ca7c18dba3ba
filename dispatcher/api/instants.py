"""Instants as callers write them: RFC 3339, and integer microseconds since the epoch inside."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_EPOCH = datetime(1970, 1, 1)
# A "+" that was not percent-encoded arrives as a blank; there is nothing else it could mean.
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([-+ ])([0-9]{2}):([0-9]{2}))"
)
_MICROSECOND = timedelta(microseconds=1)
_LEAP_SECOND = 60


def parse(written: str) -> int:
    """Read RFC 3339 with any offset. Digits beyond the microsecond are dropped.

    Raises:
        ValueError: it is none, or no day or time of the calendar.
    """
    match = _RFC3339.fullmatch(written)
    if match is None:
        raise ValueError("it is not RFC 3339 with an offset, like 2026-01-31T12:00:00Z")
    day, minute, second, fraction, sign, hours, minutes = match.groups()
    # A leap second is the first one of the next minute, as the epoch does not count them.
    leap = int(second) == _LEAP_SECOND
    instant = datetime.fromisoformat(f"{day}T{minute}:{'59' if leap else second}")
    since = instant - _EPOCH + timedelta(seconds=leap)
    since_us = since // _MICROSECOND + int((fraction or "0")[:6].ljust(6, "0"))
    return since_us - (_offset_us(sign, int(hours), int(minutes)) if sign else 0)


def _offset_us(sign: str, hours: int, minutes: int) -> int:
    if hours > 23 or minutes > 59:
        raise ValueError("its offset is out of range")
    offset = timedelta(hours=hours, minutes=minutes) // _MICROSECOND
    return -offset if sign == "-" else offset
