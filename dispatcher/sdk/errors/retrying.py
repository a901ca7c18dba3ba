"""When a call may be tried again at the earliest, as the exception that ended it knows."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Final

from dispatcher.sdk.errors.tables import attribute

_MOST_SECONDS: Final = 365 * 86_400.0


def retry_after_of(error: BaseException, now_s: float | None = None) -> float | None:
    """Return the least number of seconds until then, None where nothing is known: the attribute
    `retry_after` (seconds) of the exception or of its cause, or the header Retry-After of the
    response that it holds. `now_s` is seconds since the epoch, the clock's without it."""
    for one in (error, error.__cause__):
        own = attribute(one, "retry_after")
        if isinstance(own, int | float) and not isinstance(own, bool):
            return _bounded(float(own))
        text = _header(one)
        if text is not None:
            return seconds_of(text, time.time() if now_s is None else now_s)
    return None


def seconds_of(text: str, now_s: float) -> float | None:
    """The header Retry-After: seconds, or an instant; None where it is neither (RFC 9110,
    10.2.3)."""
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return _bounded(float(text[:20]))
    try:
        return _bounded(parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None


def _bounded(seconds: float) -> float | None:
    return min(max(seconds, 0.0), _MOST_SECONDS) if seconds == seconds else None  # not NaN


def _header(error: object) -> str | None:
    """Where httpx, requests and openai have the headers, and where aiohttp and urllib have them."""
    response = attribute(error, "response")
    for owner in (response, error):
        get = attribute(attribute(owner, "headers"), "get")
        for name in ("Retry-After", "retry-after"):
            text = get(name) if callable(get) else None
            if isinstance(text, str):
                return text
    return None
