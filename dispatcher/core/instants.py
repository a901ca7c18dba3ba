"""Instants: integer microseconds since the epoch inside, RFC 3339 where they are shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# `datetime.fromisoformat` also takes days without a time, weeks, and times without seconds.
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[-+][0-9]{2}:[0-9]{2})"
)
_SECONDS: Final = slice(17, 19)
_LEAP_SECOND: Final = "60"
_SECOND_US: Final = 1_000_000


def read_rfc3339(written: str) -> int:
    """Read an instant of RFC 3339, with any offset. Digits beyond the microsecond are dropped.

    Returns microseconds since the epoch, below 0 for what is before it.

    Raises:
        ValueError: it is none, or no day or time of the calendar.
    """
    if _RFC3339.fullmatch(written) is None:
        raise ValueError("it is not RFC 3339 with an offset, like 2026-01-31T12:00:00Z")
    text = written.upper()
    # A leap second is the first one of the next minute, as the epoch does not count them.
    leap = text[_SECONDS] == _LEAP_SECOND
    if leap:
        text = f"{text[:17]}59{text[19:]}"
    try:
        return since_epoch_us(datetime.fromisoformat(text)) + leap * _SECOND_US
    except ValueError as error:
        raise ValueError("it is no day or time of the calendar, or its offset is none") from error


def rfc3339(instant_us: int) -> str:
    """Write an instant in UTC, always with six digits of a second: `2024-01-01T00:00:00.000001Z`.

    Raises:
        OverflowError: it is not in the years from 1 to 9999.
    """
    instant = moment(instant_us).replace(tzinfo=None)
    return f"{instant.isoformat(timespec='microseconds')}Z"


def moment(instant_us: int) -> datetime:
    """Return an instant as a moment in UTC.

    Raises:
        OverflowError: it is not in the years from 1 to 9999.
    """
    return EPOCH + timedelta(microseconds=instant_us)


def since_epoch_us(moment: datetime) -> int:
    """Return a moment with an offset as microseconds since the epoch."""
    return (moment - EPOCH) // timedelta(microseconds=1)
