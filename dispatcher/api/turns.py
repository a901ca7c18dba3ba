"""Calls in turn: so many a second, whoever asks and how often. Decides only."""

from __future__ import annotations

import math
from typing import Final

_ROUNDING_S: Final = 1e-6
"""Instants are sums of many fractions: what is as little ahead as that is now."""


class Turns:
    """So many a second, and `burst` at once after a rest. Instants are in seconds."""

    __slots__ = ("_burst_s", "_each_s", "_next_at")

    def __init__(self, per_second: float, burst: int) -> None:
        self._each_s = 1 / per_second
        self._burst_s = (burst - 1) / per_second
        self._next_at = -math.inf

    def wait(self, now: float, patience_s: float = math.inf) -> float | None:
        """How long to wait for the next turn, which is taken; None: too long, it is not taken."""
        at = max(self._next_at, now - self._burst_s)
        if at - now > patience_s + _ROUNDING_S:
            return None
        self._next_at = at + self._each_s
        return max(0.0, at - now)

    def give_back(self) -> None:
        """A turn that was waited for is not used: there is one more for those who come."""
        self._next_at -= self._each_s
