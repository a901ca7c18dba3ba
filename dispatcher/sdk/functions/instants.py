"""Instants as applications see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def instant(at_us: int) -> datetime:
    """Return the time so many microseconds after the epoch, in UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=at_us)
