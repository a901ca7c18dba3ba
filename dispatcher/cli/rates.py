"""Rates of jobs, as they are typed: `50` (a second), `10/1m`."""

from __future__ import annotations

from typing import Final

from dispatcher.cli.errors import BadUsage
from dispatcher.core.rate import RATE_EXPECTED, parse_rate

_MOST_DIGITS: Final = 9


def sent(text: str, name: str, *others: str) -> int | str:
    """As the API takes it; a bare number is a second's.

    Args:
        text: what was typed.
        name: of the option or argument, for the refusal.
        others: words that could have stood there too.

    Raises:
        BadUsage: it is no rate.
    """
    if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS:
        return int(text)
    if parse_rate(text) is not None:
        return text
    expected = ("a number a second", RATE_EXPECTED, *others)
    raise BadUsage(f"{name}: expected {', or '.join(expected)}")
