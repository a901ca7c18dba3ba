"""How long attempts usually take, and when one has run longer than that.

A histogram of recent durations, in steps of a quarter of a power of two. Older durations fade: all
counts are halved once there are `_MOST` of them. Only answered attempts are put in: what hangs must
not become usual by hanging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PATIENT_US: Final = 250_000
"""No attempt counts as slow before this, where nobody waits for its worker."""
HURRIED_US: Final = 25_000
"""No attempt counts as slow before this, where somebody waits for its worker."""
RISKY_US: Final = 10_000
"""The same for an attempt of a destination that was never tried, or that failed last; it is twice
the median otherwise. Where that is wrong nothing is lost but that one attempt more is under way."""
_LONGEST_US: Final = 2_000_000
"""Every attempt counts as slow after this, although most of them take that long: otherwise a few
slow destinations could let all others wait behind those that hang."""
_TIMES: Final = 4
_TIMES_RISKY: Final = 2
_FEWEST: Final = 20
_MOST: Final = 1024
_STEPS: Final = 128


@dataclass(frozen=True, slots=True)
class Patience:
    """After how many microseconds an attempt counts as slow: where nobody waits for its worker,
    where somebody does, and where somebody does and little is known of the destination."""

    patient_us: int
    hurried_us: int
    risky_us: int


class Usual:
    """The durations of recent attempts."""

    __slots__ = ("_count", "_counts")

    def __init__(self) -> None:
        self._counts = [0] * _STEPS
        self._count = 0

    def observe(self, duration_us: int) -> None:
        """Put in the duration of an attempt that was answered, in microseconds, 0 or more."""
        self._counts[step_of(duration_us)] += 1
        self._count += 1
        if self._count >= _MOST:
            self._counts = [count >> 1 for count in self._counts]
            self._count = sum(self._counts)

    @property
    def is_known(self) -> bool:
        """Whether enough durations were put in."""
        return self._count >= _FEWEST

    def percentile_us(self, percent: int) -> int | None:
        """What so many of a hundred recent attempts stayed below; None where too few are known."""
        if not self.is_known:
            return None
        above = self._count * (100 - percent) // 100
        for step in range(_STEPS - 1, -1, -1):
            above -= self._counts[step]
            if above < 0:
                return upper_us(step)
        return 0

    def patience(self) -> Patience:
        """After how long an attempt counts as slow now."""
        median_us, p95_us = self.percentile_us(50), self.percentile_us(95)
        if median_us is None or p95_us is None:
            return Patience(PATIENT_US, PATIENT_US, PATIENT_US)
        usual_us = p95_us * _TIMES
        return Patience(
            patient_us=min(max(usual_us, PATIENT_US), _LONGEST_US),
            hurried_us=min(max(usual_us, HURRIED_US), PATIENT_US),
            risky_us=min(max(median_us * _TIMES_RISKY, RISKY_US), PATIENT_US),
        )


def step_of(duration_us: int) -> int:
    """The number of the step that a duration is in, below 128: four for each power of two."""
    if duration_us < 4:
        return max(duration_us, 0)
    power = duration_us.bit_length() - 3
    return min((power << 2) + (duration_us >> power), _STEPS - 1)


def upper_us(step: int) -> int:
    """The first duration above a step."""
    if step < 4:
        return step + 1
    power = (step >> 2) - 1
    return ((step & 3) + 5) << power


def middle_us(step: int) -> int:
    """The middle of a step: what its durations are, about."""
    return (upper_us(step - 1) + upper_us(step)) // 2 if step else 0
