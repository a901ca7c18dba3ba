"""Time and chance as values that are passed in.

Decisions take instants and random numbers from their caller, so that a test can run an hour of
retries in a millisecond and repeat it exactly. `dispatcher.testing.clock` has the twins.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks that must not be mixed up."""

    def now_us(self) -> int:
        """Microseconds since the epoch: for what is stored or shown. May jump, also backwards."""

    def monotonic_us(self) -> int:
        """Microseconds since some fixed moment: for elapsed time. Never goes back."""


class Random(Protocol):
    """Where jitter comes from; `random.Random` is one."""

    def uniform(self, a: float, b: float, /) -> float:
        """A number from `a` to `b`, both included."""


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now_us(self) -> int:
        """Microseconds since the epoch, by the machine's wall clock."""
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        """Microseconds by the machine's monotonic clock."""
        return time.monotonic_ns() // 1000
