"""Instants as they are shown: RFC 3339, of integer microseconds since the epoch."""

from __future__ import annotations

from datetime import datetime, timedelta

_EPOCH = datetime(1970, 1, 1)


def rfc3339(instant_us: int) -> str:
    """Write an instant in UTC, always with six digits of a second: `2024-01-01T00:00:00.000001Z`.

    Raises:
        OverflowError: it is not in the years from 1 to 9999.
    """
    instant = _EPOCH + timedelta(microseconds=instant_us)
    return f"{instant.isoformat(timespec='microseconds')}Z"
