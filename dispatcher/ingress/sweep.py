"""Looks at the clock for every connection: one timer for all of them, not one for each."""

from __future__ import annotations

import asyncio
from typing import Final

from dispatcher.ingress.shared import Shared

LONGEST_S: Final = 1.0
SHORTEST_S: Final = 0.05
"""A sweep over ten thousand connections takes milliseconds."""
_SWEEPS_A_TIMEOUT: Final = 4


def every_s(*timeouts_s: float) -> float:
    """Return the seconds between two sweeps: a quarter of the shortest time-out, within bounds."""
    return max(min(LONGEST_S, min(timeouts_s) / _SWEEPS_A_TIMEOUT), SHORTEST_S)


class Sweep:
    """The listener's timer. It goes on whatever happens in a connection.

    When the process stood still, the timer is late and what came meanwhile is still to be read:
    event loops call timers before sockets. So the sockets are read before anybody is judged.
    """

    __slots__ = ("_every_s", "_loop", "_shared", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, shared: Shared, every_s: float) -> None:
        self._loop = loop
        self._shared = shared
        self._every_s = every_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Check all connections now, and again every `every_s` seconds."""
        # Armed first: an error below must not end all later time-outs.
        self._timer = self._loop.call_later(self._every_s, self.start)
        self._shared.tick()
        # Two turns: the first may come before the loop looks at its sockets, the second cannot.
        self._loop.call_soon(self._loop.call_soon, self._check)

    def _check(self) -> None:
        shared = self._shared
        for connection in list(shared.connections):
            try:
                connection.check(shared.now_s)
            except Exception as error:
                # A bug in one connection would end every sweep at this one, and those after it
                # would have no time-outs. So it is reported, as the loop does for callbacks, and
                # only this connection ends.
                connection.abort()
                self._loop.call_exception_handler(
                    {"message": f"looking after {connection!r} failed", "exception": error}
                )

    def stop(self) -> None:
        """Stop checking. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
