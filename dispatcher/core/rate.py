"""How often something may start: `10/1m`, and the token bucket that counts it.

A bucket holds `burst` tokens and is full at first; one is taken with every start, and they come
back evenly, `count` in every `period_us`. Instead of tokens it keeps one instant, the one at which
it will be full again (the generic cell rate algorithm, ITU-T I.371 annex A). That instant is
counted in parts of a microsecond, `count` of them in each, so that a token comes back after a whole
number of parts: nothing is rounded, and over a long time not one start is lost or won.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

RATE_EXPECTED: Final = (
    "a number, a slash and a time in seconds, minutes, hours or days, such as 50/s, 10/1m or 1000/d"
)
_RATE: Final = re.compile(r"([0-9]{1,9})/([0-9]{0,6})([smhd])")
_UNITS_US: Final = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_SECOND_US: Final = 1_000_000
_LONGEST_US: Final = 366 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` starts in `period_us`, both 1 or more, and `burst`, 1 or more, at once."""

    count: int
    period_us: int
    burst: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or self.period_us < 1 or self.burst < 1:
            raise ValueError("a rate is 1 or more in a time above 0, with a burst of 1 or more")

    @property
    def of_a_second(self) -> int:
        """How many starts one second is worth, 1 or more."""
        return max(1, self.count * _SECOND_US // self.period_us)

    def __str__(self) -> str:
        for unit in ("d", "h", "m", "s"):
            number, rest = divmod(self.period_us, _UNITS_US[unit])
            if not rest:
                return f"{self.count}/{'' if number == 1 else number}{unit}"
        return f"{self.count}/{self.period_us}us"


def parse_rate(text: str) -> Rate | None:
    """Read `COUNT/[NUMBER]UNIT` with a unit of s, m, h, d; without blanks around it.

    Returns a rate with a burst of 1; None where it is no rate, is none at all (`0/s`), or counts
    over more than a year.
    """
    found = _RATE.fullmatch(text)
    if found is None:
        return None
    count = int(found[1])
    period_us = int(found[2] or "1") * _UNITS_US[found[3]]
    return Rate(count, period_us) if count and 0 < period_us <= _LONGEST_US else None


class Bucket:
    """The tokens of one rate. Times are microseconds by any clock that does not go back.

    `is_awaited`: somebody waits for the next token, and takes it as soon as a timer lets them. How
    late that is is no rest of theirs: the token after it comes at its time all the same.
    """

    __slots__ = ("_full_at", "is_awaited", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.is_awaited = False
        self._full_at = 0

    def __repr__(self) -> str:
        return f"<Bucket {self.rate} burst={self.rate.burst}>"

    def opens_at(self, now_us: int) -> int:
        """When there is a token: an instant not before which one may be taken, `now_us` or earlier
        where there is one now."""
        rate = self.rate
        first = self._full_at - (rate.burst - 1) * rate.period_us
        return -(-first // rate.count)

    def take(self, now_us: int) -> None:
        """Take a token, whether there is one or not: what is owed is waited for later."""
        rate = self.rate
        now = now_us * rate.count
        # Within a microsecond it was taken as soon as it could be, and the rest of that is not
        # lost: else a rate whose tokens come at fractions of one would fall behind.
        soon = rate.period_us if self.is_awaited else rate.count
        if now - self._full_at >= soon:
            self._full_at = now
        self._full_at += rate.period_us
        self.is_awaited = False

    def is_full(self, now_us: int) -> bool:
        """Whether it is as it was at first, so that it need not be kept."""
        return self._full_at <= now_us * self.rate.count

    def tokens(self, now_us: int) -> int:
        """How many may be taken now at once, 0 or more."""
        rate = self.rate
        missing = max(0, self._full_at - now_us * rate.count)
        return max(0, rate.burst - -(-missing // rate.period_us))

    def change(self, rate: Rate, now_us: int) -> None:
        """Count by another rate from now on, with the tokens that there are, as far as it holds
        so many; nobody gets a second burst by changing a rate."""
        if rate != self.rate:
            missing = max(0, rate.burst - self.tokens(now_us))
            self.rate = rate
            self._full_at = now_us * rate.count + missing * rate.period_us


def bucket_for(rate: Rate | None, before: Bucket | None, now_us: int) -> Bucket | None:
    """The bucket of what has this rate from now on, and had `before`; None: it has no rate."""
    if rate is None or before is None:
        return None if rate is None else Bucket(rate)
    before.change(rate, now_us)
    return before
