"""Instants and spans of time, as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dispatcher.cli.errors import BadUsage
from dispatcher.core.instants import rfc3339, since_epoch_us
from dispatcher.core.units import duration_ms


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
    span_ms = None if text.isdigit() else duration_ms(text)
    try:
        if span_ms is None:
            raise ValueError
        return _spelled(now - timedelta(milliseconds=span_ms))
    except (ValueError, OverflowError):
        raise BadUsage(f"{option} {text}: expected a span such as 30s, 15m, 6h, 2d or 1w") from None


def span(text: str, option: str) -> str:
    """Return a span such as `2d` as it was typed. A bare number is none: it may be meant in days,
    and the API takes it for milliseconds.

    Raises:
        BadUsage: naming the option.
    """
    if text.isdigit() or duration_ms(text) is None:
        raise BadUsage(f"{option} {text}: expected a span such as 30s, 15m, 6h, 2d or 1w")
    return text


def moment(text: str, option: str, now: datetime) -> str:
    """Read an instant as `instant` does, or a span before `now` as `ago` does.

    Raises:
        BadUsage: naming the option.
    """
    if duration_ms(text) is not None and not text.isdigit():
        return ago(text, option, now)
    try:
        return instant(text, option)
    except BadUsage:
        raise BadUsage(
            f"{option} {text}: expected a span such as 30s, 15m, 6h, 2d or 1w ago, or an instant "
            "such as 2026-01-31T12:00:00Z or 2026-01-31"
        ) from None


def seconds(text: str, option: str) -> float:
    """Read the time between two looks: `2s`, `500ms`, or seconds, also a fraction of them.

    Raises:
        BadUsage: naming the option.
    """
    span_ms = None if text.isdigit() else duration_ms(text)
    try:
        found = float(text) if span_ms is None else span_ms / 1000
    except ValueError:
        found = 0.0
    if not 0.1 <= found <= 3600:
        raise BadUsage(
            f"{option} {text}: expected a span from 100ms to 1h such as 2s; a bare number is "
            "seconds"
        )
    return found


def _spelled(moment: datetime) -> str:
    return rfc3339(since_epoch_us(moment))
