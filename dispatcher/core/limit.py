"""How many attempts one destination gets at once: additive increase, multiplicative decrease.

A destination that was never tried gets one attempt; once that has ended, 2 at once. The limit
doubles with each full round of successes (as many successes as the limit is high) until the first
overload, as TCP's slow start does (RFC 5681 §3.1).
An overload halves the limit, down to 1; from then on each round of successes adds one. What counts
as a success or an overload is decided by `core.breaker.classify`.

A destination that is overloaded fails everything it has in flight: the eight attempts of a limit of
8 are one event, not eight, and must not take the limit to 1. So an overload counts only if its
attempt started after the last halving.
"""

from __future__ import annotations

START = 2


class Limit:
    """The limit of one destination. Called for every attempt: `success` is two integer operations.

    `value` is the number of attempts that may be in flight, 1…`ceiling`. Where more are in flight
    after a halving, none is taken back; none is started until enough have ended.
    """

    __slots__ = ("_halved_at", "_left", "_slow_start", "ceiling", "value")

    def __init__(self, ceiling: int) -> None:
        """Begin in slow start, with one attempt. `ceiling` is `WORKER`, 1 or more."""
        if ceiling < 1:
            raise ValueError(f"the ceiling must be 1 or more, and is {ceiling}")
        self.ceiling = ceiling
        self.value = self._left = 1
        self._slow_start = True
        self._halved_at = -1

    def cap(self, ceiling: int) -> None:
        """There may be so many at most from now on, 1 or more. What was learned stays, as far as
        that allows; a higher ceiling is grown to."""
        self.ceiling = ceiling
        self.value = min(self.value, ceiling)
        self._left = min(self._left, self.value)

    def success(self) -> None:
        """Count one success; the last one of a round raises the limit."""
        self._left -= 1
        if not self._left:
            self._grow()

    def tried(self) -> None:
        """The first attempt has ended and was no success: what follows may be `START` at once, if
        it was no overload either."""
        if self._slow_start and self.value < START:
            self.value = self._left = min(START, self.ceiling)

    def overload(self, started: int, now: int) -> bool:
        """Count one overload; return whether it halved the limit.

        Args:
            started: when its attempt started, and
            now: when it ended, both 0 or more, by one clock that never goes back (monotonic
                microseconds; a count of attempts does as well). An attempt that started in the very
                moment of the last halving is taken to have started before it.
        """
        if started <= self._halved_at:
            return False
        self.value = max(1, self.value // 2)
        self._left = self.value
        self._slow_start = False
        self._halved_at = now
        return True

    def _grow(self) -> None:
        grown = self.value * 2 if self._slow_start else self.value + 1
        self.value = self._left = min(grown, self.ceiling)
