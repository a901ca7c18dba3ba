"""Instants as callers of the API write them: RFC 3339 in a query."""

from __future__ import annotations

from typing import Final

from dispatcher.core.instants import read_rfc3339

_DAY: Final = slice(0, 11)
_REST: Final = slice(11, None)


def parse(written: str) -> int:
    """Read RFC 3339 with any offset, as microseconds since the epoch. Digits beyond the microsecond
    are dropped.

    Raises:
        ValueError: it is none, or no day or time of the calendar.
    """
    # A "+" that was not percent-encoded arrives as a blank; there is nothing else it could mean.
    return read_rfc3339(written[_DAY] + written[_REST].replace(" ", "+"))
