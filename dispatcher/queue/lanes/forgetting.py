"""Lanes that nobody needs any more are forgotten, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

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
        self._look(self._lanes.in_parts(_LANES_AT_ONCE))

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, parts: Iterator[list[Lane]]) -> None:
        """Look at the next of these lanes, and at the others when the loop has had its turn."""
        loop = asyncio.get_running_loop()
        some = next(parts, None)
        if some is not None:
            self._lanes.forget(some, self._clock.now_us())
            self._timer = loop.call_later(_REST_SECONDS, self._look, parts)
        else:
            self._timer = loop.call_later(IDLE_LANE_SECONDS, self.start)
