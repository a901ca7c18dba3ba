"""What the values of options are read with, and how they are written.

Readers take what a caller wrote, without the blanks around it, and give None for what is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dispatcher.core.instants import read_rfc3339, rfc3339
from dispatcher.core.units import duration_ms

YEAR_MS: Final = 365 * 86_400_000
_EPOCH_SECONDS: Final = re.compile(r"[0-9]{1,11}")
_LAST_SECOND: Final = 253_402_300_799
"""Of the year 9999: a later one could not be shown."""


@dataclass(frozen=True, slots=True)
class After:
    """So many milliseconds after the message is accepted."""

    ms: int

    def instant_us(self, accepted_us: int) -> int:
        """The instant, for a message that is accepted then."""
        return accepted_us + self.ms * 1000


@dataclass(frozen=True, slots=True)
class At:
    """An instant, in microseconds since the epoch."""

    us: int

    def instant_us(self, accepted_us: int) -> int:
        """The instant, whenever the message is accepted."""
        return self.us


When = After | At


def duration_between(least_ms: int, most_ms: int) -> Callable[[str], int | None]:
    """What reads a duration in milliseconds within these bounds."""

    def read(text: str) -> int | None:
        value = duration_ms(text)
        return value if value is not None and least_ms <= value <= most_ms else None

    return read


def after(least_ms: int, most_ms: int) -> Callable[[str], After | None]:
    """What reads a duration within these bounds as `After`."""
    duration = duration_between(least_ms, most_ms)

    def read(text: str) -> After | None:
        ms = duration(text)
        return None if ms is None else After(ms)

    return read


def rfc3339_or_epoch(text: str) -> At | None:
    """Read RFC 3339, or whole seconds since the epoch."""
    if _EPOCH_SECONDS.fullmatch(text) is not None:
        seconds = int(text)
        return At(seconds * 1_000_000) if seconds <= _LAST_SECOND else None
    return _rfc3339(text)


def after_or_rfc3339(least_ms: int, most_ms: int) -> Callable[[str], When | None]:
    """What reads a duration within these bounds, or RFC 3339."""
    duration = after(least_ms, most_ms)

    def read(text: str) -> When | None:
        return _rfc3339(text) if "-" in text else duration(text)

    return read


def _rfc3339(text: str) -> At | None:
    try:
        instant_us = read_rfc3339(text)
    except ValueError:
        return None
    return At(instant_us) if 0 <= instant_us < (_LAST_SECOND + 1) * 1_000_000 else None


def whole_between(least: int, most: int) -> Callable[[str], int | None]:
    """What reads a whole number within these bounds, in decimal digits."""
    digits = re.compile(r"[0-9]{1,19}")

    def read(text: str) -> int | None:
        if digits.fullmatch(text) is None:
            return None
        value = int(text)
        return value if least <= value <= most else None

    return read


def visible(most: int) -> Callable[[str], str | None]:
    """What reads 1 to `most` visible bytes: ASCII without blanks and controls."""
    bytes_ = re.compile(rf"[\x21-\x7e]{{1,{most}}}")

    def read(text: str) -> str | None:
        return text if bytes_.fullmatch(text) is not None else None

    return read


def instant_text(instant_us: int) -> str | None:
    """Write an instant; None where it is 0, which means none."""
    return rfc3339(instant_us) if instant_us else None
