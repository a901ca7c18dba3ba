"""Ends attempts that take too long, with one timer for all of them.

There are at most `WORKER` attempts in flight, so looking at all of them when the timer fires costs
less than a timer for each. The timer is armed for the nearest deadline known; an attempt that ends
in time leaves it alone, and it then fires once for nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator

from dispatcher.delivery.attempt import Attempt

_TIMER_GRAIN_S = 0.001  # uvloop's timers and clock count whole milliseconds and may fire one early


class Deadlines:
    """The attempts in flight."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[Attempt], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._attempts: set[Attempt] = set()
        self._armed_s = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self._attempts)

    def __contains__(self, attempt: Attempt) -> bool:
        return attempt in self._attempts

    def add(self, attempt: Attempt) -> None:
        """Watch an attempt until it is discarded or expires."""
        self._attempts.add(attempt)
        if attempt.deadline_s < self._armed_s:
            self._arm(attempt.deadline_s)

    def discard(self, attempt: Attempt) -> None:
        """Watch it no longer. Idempotent."""
        self._attempts.discard(attempt)

    def clear(self) -> list[Attempt]:
        """Stop for good, and hand out what was still watched."""
        left = list(self._attempts)
        self._attempts.clear()
        self._arm(math.inf)
        return left

    def _arm(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_s = at_s
        self._timer = None if at_s == math.inf else self._loop.call_at(at_s, self._fire)

    def _fire(self) -> None:
        now_s = self._loop.time() + _TIMER_GRAIN_S
        due = [attempt for attempt in self._attempts if attempt.deadline_s <= now_s]
        self._attempts.difference_update(due)
        # Armed before anybody is told: what they do may add attempts, or fail.
        self._arm(min((attempt.deadline_s for attempt in self._attempts), default=math.inf))
        for attempt in due:
            self._expire(attempt)
