"""Instants: integer microseconds since the epoch inside, RFC 3339 where they are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
