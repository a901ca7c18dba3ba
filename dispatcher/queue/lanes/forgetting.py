"""Lanes that nobody needs any more are forgotten, a few at a time."""

from __future__ import annotations

import asyncio

from dispatcher.core.clock import SteadyClock
from dispatcher.queue.lanes.lanes import Lane, Lanes

IDLE_LANE_SECONDS = 60.0
_LANES_AT_ONCE = 500
_REST_SECONDS = 0.002


class Forgetting:
    """Looks at all lanes once a minute."""

    __slots__ = ("_clock", "_lanes", "_timer")

    def __init__(self, lanes: Lanes, clock: SteadyClock) -> None:
        self._lanes = lanes
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look now, and then again and again."""
        self._look(list(self._lanes))

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, lanes: list[Lane]) -> None:
        """Look at a few of these lanes, and at the others when the loop has had its turn."""
        self._lanes.forget(lanes[-_LANES_AT_ONCE:], self._clock.now_us())
        del lanes[-_LANES_AT_ONCE:]
        loop = asyncio.get_running_loop()
        if lanes:
            self._timer = loop.call_later(_REST_SECONDS, self._look, lanes)
        else:
            self._timer = loop.call_later(IDLE_LANE_SECONDS, self.start)
