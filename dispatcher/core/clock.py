"""Time and chance as values that are passed in.

Decisions take instants and random numbers from their caller, so that a test can run an hour of
retries in a millisecond and repeat it exactly. `dispatcher.testing.clock` has the twins.
"""

from __future__ import annotations

import time
from typing import NewType, Protocol

QueueUs = NewType("QueueUs", int)
"""An instant in microseconds since the epoch, by a partition's own clock (`SteadyClock`)."""
WallUs = NewType("WallUs", int)
"""An instant in microseconds since the epoch, by the wall clock."""


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
        """Microseconds since the epoch, by the machine's wall clock; 0 while that is not set and
        says an earlier time, which no record could hold."""
        now_us = time.time_ns() // 1000
        return now_us if now_us > 0 else 0

    def monotonic_us(self) -> int:
        """Microseconds by the machine's monotonic clock."""
        return time.monotonic_ns() // 1000


class SteadyClock:
    """Microseconds since the epoch by a clock that never goes back: the wall clock at the start,
    and the monotonic clock from there."""

    __slots__ = ("_clock", "_monotonic_us", "_offset_us")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic_us = clock.monotonic_us
        self._offset_us = clock.now_us() - clock.monotonic_us()

    def now_us(self) -> QueueUs:
        """Now, by the steady clock: for what waits."""
        # Not QueueUs(…): that is a call, and this is asked several times for every message.
        return self._offset_us + self._monotonic_us()  # type: ignore[return-value]  # above

    def wall_us(self) -> WallUs:
        """Now, by the wall clock: for what is stored or shown."""
        return self._clock.now_us()  # type: ignore[return-value]  # as in `now_us`

    def to_wall(self, at_us: QueueUs) -> WallUs:
        """An instant of the steady clock, as the wall clock says it now; 0 for one that would be
        before 1970 by a clock that is not set, which no record could hold."""
        return WallUs(max(0, at_us + self._clock.now_us() - self.now_us()))

    def to_queue(self, at_us: WallUs) -> QueueUs:
        """An instant of the wall clock as it is now, by the steady clock."""
        return QueueUs(at_us - self._clock.now_us() + self.now_us())
