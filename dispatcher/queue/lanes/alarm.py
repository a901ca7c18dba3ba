"""One timer of the event loop for the earliest of many instants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` once the earliest instant that was set has come. Instants are microseconds by
    the clock `now_us`."""

    __slots__ = ("_at", "_now_us", "_ring", "_timer")

    def __init__(self, now_us: Callable[[], int], ring: Callable[[], None]) -> None:
        self._now_us = now_us
        self._ring = ring
        self._at = 0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at_us: int) -> None:
        """Ring at this instant, unless it rings before that anyway."""
        if self._timer is not None:
            if self._at <= at_us:
                return
            self._timer.cancel()
        self._at = at_us
        delay_s = max(at_us - self._now_us(), 0) / 1_000_000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def cancel(self) -> None:
        """Do not ring. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._ring()
