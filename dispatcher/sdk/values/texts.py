"""Values that have a text of their own, in which everybody writes them: the text, and back.

Each function that reads raises ValueError for a text that is none of its kind.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final
from uuid import UUID

from dispatcher.sdk.values.misfit import Misfit

_SECONDS: Final = re.compile(r"(-?)(\d{1,14})(?:\.(\d{1,9}))?s", re.ASCII)


def text_of_instant(value: datetime) -> str:
    """RFC 3339 in UTC. Raises Misfit when it has no time zone."""
    try:
        return utc(value).isoformat().replace("+00:00", "Z")
    except OverflowError:
        raise Misfit(f"is not in the years 1 to 9999 of UTC: {value}") from None


def utc(value: datetime) -> datetime:
    """The same instant in UTC. Raises Misfit when it has no time zone, OverflowError."""
    if value.utcoffset() is None:
        raise Misfit(
            "is a datetime without a time zone, which is another instant on each machine: write "
            "datetime.now(UTC), or value.replace(tzinfo=UTC)"
        )
    return value.astimezone(UTC)


def instant_of(text: str) -> datetime:
    """In UTC."""
    value = datetime.fromisoformat(text)
    if value.utcoffset() is None:
        raise ValueError("has no time zone")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


def text_of_time(value: time) -> str:
    """ISO 8601. Raises Misfit when its zone has another offset on other days."""
    if value.tzinfo is not None and value.utcoffset() is None:
        raise Misfit("is a time in a zone whose offset depends on the day: send a datetime")
    return value.isoformat()


def text_of_span(value: timedelta) -> str:
    """Seconds, as protobuf's JSON has durations: "-1.5s"."""
    microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    seconds, fraction = divmod(abs(microseconds), 1_000_000)
    decimals = f".{fraction:06}".rstrip("0") if fraction else ""
    return f"{'-' if microseconds < 0 else ''}{seconds}{decimals}s"


def span_of(text: str) -> timedelta:
    """Up to nine decimals are read, of which six are kept."""
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise ValueError("is no duration such as '1.5s'")
    fraction = int((match[3] or "0").ljust(9, "0")) // 1000
    try:
        span = timedelta(seconds=int(match[2]), microseconds=fraction)
        return -span if match[1] else span
    except OverflowError as error:
        raise ValueError("is out of range") from error


def text_of_bytes(value: bytes) -> str:
    """Base64 with padding, of the usual alphabet."""
    return base64.b64encode(value).decode("ascii")


def bytes_of(text: str) -> bytes:
    """Of base64 in either alphabet, with or without padding, as protobuf's JSON takes it."""
    usual = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(usual + "=" * (-len(usual) % 4), validate=True)


def decimal_of(text: str) -> Decimal:
    """Of a number as Decimal writes it."""
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError("is no decimal number") from error


def uuid_of(text: str) -> UUID:
    """Of the usual form, or 32 hexadecimal digits."""
    return UUID(text)


def date_of(text: str) -> date:
    """Of ISO 8601, without a time."""
    return date.fromisoformat(text)


def time_of(text: str) -> time:
    """Of ISO 8601, without a date."""
    return time.fromisoformat(text)
