"""Lengths of time as users give them: seconds as a number, or a `timedelta`."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final, TypeAlias

Seconds: TypeAlias = float | timedelta

DAY_US: Final = 86_400_000_000
MOST_US: Final = 3_652_500 * DAY_US  # 10 000 years: what a Duration of protobuf holds


def microseconds(value: object, what: str, *, least: int = 0, most: int = MOST_US) -> int:
    """Return a length of time in microseconds. `what` names it: "the delay".

    Raises:
        TypeError: it is neither a number nor a timedelta.
        ValueError: it is not from `least` to `most` microseconds.
    """
    length = _length(value, what)
    if not math.isfinite(length) or length < 0:
        raise ValueError(
            f"{what} must be 0 or more seconds, or a timedelta, and is {value!r}."
            if math.isfinite(length)
            else f"{what} must be a finite number of seconds, and is {value!r}."
        )
    whole = round(length * 1_000_000)
    if not least <= whole <= most:
        raise ValueError(f"{what} must be {_shown(least)} to {_shown(most)}, and is {value!r}.")
    return whole


def _length(value: object, what: str) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} must be a number of seconds or a timedelta, and is {value!r}.")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(length_us: int) -> str:
    for unit_us, unit in _UNITS:
        if length_us >= unit_us:
            count = length_us // unit_us
            return f"{count} {unit}{'s' if count > 1 and len(unit) > 2 else ''}"
    return f"{length_us}"


_UNITS: Final = (
    (DAY_US, "day"),
    (3_600_000_000, "hour"),
    (1_000_000, "second"),
    (1_000, "ms"),
    (1, "µs"),
)
