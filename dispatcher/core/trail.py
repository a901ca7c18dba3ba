"""What the attempts of one destination came to lately: how many a second, how long, and the last
that went wrong.

One object a destination, of which there may be a hundred thousand: a few numbers, and a byte for
each of the last `_KEPT` durations. A success that nobody times costs one subtraction, which counts
it too. The first `_EACH` successes are timed, of later ones each `_EVERY`th, which stands for so
many. What goes wrong is always noted.

Instants are microseconds of one clock that never goes back.
"""

from __future__ import annotations

from typing import Final

from dispatcher.core.outcome import AttemptResult, Failure, cause
from dispatcher.core.usual import middle_us, step_of

_EACH: Final = 20
_EVERY: Final = 8
_KEPT: Final = 64
_WINDOW_US: Final = 60_000_000


class Trail:
    """`left` successes from now one is timed: whoever has one counts it down, and calls `timed`
    when it has come to 0.

    `failed_at` is when the last attempt went wrong (0: none did), and `failing_since` when the
    first of those did that have been failures in a row (0: the last one was answered).
    """

    __slots__ = (
        "_counted",
        "_durations",
        "_every",
        "_failure",
        "_last_at",
        "_newer",
        "_newer_at",
        "_next",
        "_older",
        "_older_at",
        "_status",
        "failed_at",
        "failing_since",
        "left",
    )

    def __init__(self) -> None:
        self.left = 1
        self.failed_at = 0
        self.failing_since = 0
        self._every = 1
        # Successes that are accounted for, and how many those were at three instants.
        self._counted = 0
        self._last_at = 0
        self._newer = self._newer_at = 0
        self._older = self._older_at = 0
        self._durations: bytearray | None = None
        self._next = 0
        self._status = 0
        self._failure: Failure | None = None

    @property
    def delivered(self) -> int:
        """How many attempts succeeded."""
        return self._counted + self._every - self.left

    def timed(self, took_us: int, now_us: int) -> int:
        """Note a success that took so long; returns how many it stands for, itself included."""
        stands_for = self._every
        self._note(took_us)
        if not self._last_at:
            self._newer_at = self._older_at = now_us
        elif now_us - self._newer_at >= _WINDOW_US:
            self._older, self._older_at = self._newer, self._newer_at
            self._newer, self._newer_at = self._counted, self._last_at
        self._counted += stands_for
        self._last_at = now_us
        self._every = self.left = 1 if self._counted < _EACH else _EVERY
        return stands_for

    def failed(self, result: AttemptResult, took_us: int, now_us: int, *, answered: bool) -> None:
        """Note an attempt that was not a plain success. `answered`: by a destination that is well,
        which said no to this message."""
        self._status = result.status or 0
        self._failure = result.failure
        self.failed_at = now_us
        self._note(took_us)
        if answered:
            self.failing_since = 0
        elif not self.failing_since:
            self.failing_since = now_us

    @property
    def last_error(self) -> str | None:
        """What the last attempt that went wrong came to, as `outcome.cause` has it."""
        return cause(self._status or None, self._failure) if self.failed_at else None

    def per_second(self, now_us: int) -> float:
        """Successes a second in the last minute."""
        if not self._last_at:
            return 0.0
        before = self._count_at(now_us - _WINDOW_US, now_us)
        return max(0.0, self.delivered - before) * 1_000_000 / _WINDOW_US

    def percentiles_ms(self) -> tuple[float, float] | None:
        """What 50 and 95 of a hundred stayed below, about, of the last attempts that were timed, in
        milliseconds; None before there was one."""
        durations = self._durations
        if durations is None:
            return None
        steps = sorted(durations)
        p50, p95 = steps[len(steps) * 50 // 100], steps[len(steps) * 95 // 100]
        return middle_us(p50) / 1000, middle_us(p95) / 1000

    def _note(self, took_us: int) -> None:
        step = step_of(took_us)
        durations = self._durations
        if durations is None:
            self._durations = bytearray((step,))
        elif len(durations) < _KEPT:
            durations.append(step)
        else:
            durations[self._next] = step
            self._next = (self._next + 1) % _KEPT

    def _count_at(self, at_us: int, now_us: int) -> float:
        """How many there were at an instant, about: between two that are known, evenly spread."""
        if at_us >= self._last_at:
            return _between(at_us, self._last_at, self._counted, now_us, self.delivered)
        if at_us >= self._newer_at:
            return _between(at_us, self._newer_at, self._newer, self._last_at, self._counted)
        return _between(at_us, self._older_at, self._older, self._newer_at, self._newer)


def _between(at_us: int, from_us: int, low: int, to_us: int, high: int) -> float:
    if at_us <= from_us or to_us <= from_us:
        return low
    return low + (high - low) * (at_us - from_us) / (to_us - from_us)
