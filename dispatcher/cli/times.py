"""Instants and spans of time, as they are typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from dispatcher.cli.errors import BadUsage
from dispatcher.core.instants import rfc3339

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN: Final = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def instant(text: str, option: str) -> str:
    """Read RFC 3339 or a date, UTC where there is no offset, and return it as the API spells it.

    Raises:
        BadUsage: naming the option.
    """
    try:
        found = datetime.fromisoformat(text)
        return _spelled(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise BadUsage(
            f"{option} {text}: expected an instant such as 2026-01-31T12:00:00Z or 2026-01-31"
        ) from None


def ago(text: str, option: str, now: datetime) -> str:
    """Read a span such as `2d`, and return the instant that long before `now`.

    Raises:
        BadUsage: naming the option.
    """
    match = _SPAN.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        return _spelled(now - timedelta(**{_UNITS[match["unit"]]: int(match["number"])}))
    except (ValueError, OverflowError):
        raise BadUsage(f"{option} {text}: expected a span such as 30s, 15m, 6h, 2d or 1w") from None


def _spelled(moment: datetime) -> str:
    return rfc3339((moment - _EPOCH) // timedelta(microseconds=1))
