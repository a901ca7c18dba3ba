"""How often somebody is told: so many times in any stretch of a time, and what was left out is told
with the next.

    allowed        told at once
    too many       the last one waits, the others are counted
    there is room  the one that waits is told, and how many others there were

So a flood is two notifications, one when it begins and one that says how large it was, and nothing
that happened is left without a word.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.core.rate import Rate
from dispatcher.node.notifying.happening import Happening


@dataclass(frozen=True, slots=True)
class Told:
    """A happening that is told now, and how many others were left out before it."""

    happening: Happening
    left_out: int = 0


class Limiter:
    """Limits how often one kind is told for one `[[notify]]`. Times are microseconds of a clock
    that does not go back."""

    def __init__(self, rate: Rate, among: Callable[[], int] = lambda: 1) -> None:
        """`among` says how many processes share the rate; that may change."""
        self._rate = rate
        self._among = among
        self._told_at: deque[int] = deque(maxlen=rate.count)
        self._waiting: Happening | None = None
        self._left_out = 0

    def __repr__(self) -> str:
        waits = "nothing" if self._waiting is None else self._waiting.kind.value
        return f"<Limiter {self._rate}, {waits} waits, {self._left_out} left out>"

    def take(self, happening: Happening, now_us: int) -> Told | None:
        """Something happened: return what is told now, None where it has to wait."""
        if self._waiting is not None:
            self._left_out += 1
        self._waiting = happening
        return self.due(now_us)

    def due(self, now_us: int) -> Told | None:
        """What waits and may be told now."""
        if self._waiting is None or not self._has_room(now_us):
            return None
        told = Told(self._waiting, self._left_out)
        self._waiting, self._left_out = None, 0
        self._told_at.append(now_us)
        return told

    def give_back(self, told: Told) -> None:
        """It could not be told: it waits again, or counts if another one does meanwhile."""
        if self._told_at:
            self._told_at.pop()
        if self._waiting is None:
            self._waiting, self._left_out = told.happening, told.left_out
        else:
            self._left_out += told.left_out + 1

    def _has_room(self, now_us: int) -> bool:
        told_at = self._told_at
        if len(told_at) < self._rate.count:
            return True
        return now_us - told_at[0] >= self._rate.period_us * self._among()
