"""A clock that moves when it is told to, and chance that is no chance."""

from __future__ import annotations

_A_DAY_IN_2024_US = 1_704_067_200_000_000  # 2024-01-01T00:00:00Z


class SimulatedClock:
    """Both clocks of `core.clock.Clock`; they stand still between calls of `advance`."""

    __slots__ = ("_monotonic_us", "_now_us")

    def __init__(self, now_us: int = _A_DAY_IN_2024_US, *, monotonic_us: int = 0) -> None:
        """Start at `now_us` microseconds since the epoch, and `monotonic_us` on the other clock."""
        self._now_us = now_us
        self._monotonic_us = monotonic_us

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return self._now_us

    def monotonic_us(self) -> int:
        """Microseconds on the clock that never goes back."""
        return self._monotonic_us

    def advance(self, *, ms: int = 0, us: int = 0) -> None:
        """Let time pass on both clocks.

        Raises:
            ValueError: the sum is negative.
        """
        passed_us = ms * 1000 + us
        if passed_us < 0:
            raise ValueError("time does not go back; set_wall_clock turns the clock on the wall")
        self._now_us += passed_us
        self._monotonic_us += passed_us

    def set_wall_clock(self, now_us: int) -> None:
        """Turn the wall clock only, forwards or backwards, as an operator or NTP does."""
        self._now_us = now_us


class FixedRandom:
    """Always the same point of every range: 0 is its lower end, 1 its upper one, 0.5 the middle."""

    __slots__ = ("fraction",)

    def __init__(self, fraction: float = 0.5) -> None:
        """Choose the point; `fraction` may be changed later."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"the fraction must be between 0 and 1, and is {fraction}")
        self.fraction = fraction

    def uniform(self, a: float, b: float, /) -> float:
        """The chosen point between `a` and `b`."""
        return a + (b - a) * self.fraction
