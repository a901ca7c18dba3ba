"""A watch over the batch that is with the log: does the disk still move?

A sync that does not return raises no error: nothing is logged, and callers wait. So the time that
the batch under way has been with the log is checked, by one timer twice a second; a batch costs
nothing for that.

    FINE      no batch is with the log, or not for long
    SLOW      one has been for `SLOW_SECONDS`: worth a warning
    STALLED   one has been for `STALLED_SECONDS`, or what the watch is told: new callers are
              refused; leads to SLOW as soon as the log has answered

SLOW is left only after `CALM_SECONDS` without a slow batch: a disk that takes a second for every
sync causes one warning, not one a second.

When the process itself was stopped (SIGSTOP, a frozen machine), every batch looks too old, although
the log answered long ago and the loop has only not heard of it. So a step is taken only if a second
look, after the loop has run, sees the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum
from typing import Final, Protocol

from dispatcher.queue.ports import LogName, Observer

SLOW_SECONDS: Final = 1.0
STALLED_SECONDS: Final = 5.0
CALM_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.5
_SHORTEST_SECONDS: Final = 0.01  # clocks are coarse: less may be no time at all
_AGAIN_SECONDS: Final = 0.05


class Pace(IntEnum):
    """How the disk of a log moves."""

    FINE = 0
    SLOW = 1
    STALLED = 2


def pace_of(waiting_s: float, stalled_s: float = STALLED_SECONDS) -> Pace:
    """Judge how long a batch has been with the log, in seconds; 0 when none is."""
    if waiting_s >= stalled_s:
        return Pace.STALLED
    return Pace.SLOW if waiting_s >= SLOW_SECONDS else Pace.FINE


def next_look_s(waiting_s: float, stalled_s: float = STALLED_SECONDS) -> float:
    """Return the seconds until the next look, so that no step is noticed late."""
    for step_s in (SLOW_SECONDS, stalled_s):
        if waiting_s < step_s:
            return min(max(step_s - waiting_s, _SHORTEST_SECONDS), _LOOK_SECONDS)
    return _LOOK_SECONDS


class Watched(Protocol):
    """What is watched: a committer."""

    stalled: bool
    """Set from here: whether its disk stands still."""

    def waiting_s(self) -> float:
        """How many seconds the batch under way has been with the log; 0 when none is."""


class StallWatch:
    """Watches one committer.

    `changed` is called with the pace before, the new one, and how many seconds the batch has been
    with the log, or had been at the last look. `stalls` counts how often it came to STALLED.
    """

    def __init__(
        self,
        watched: Watched,
        changed: Callable[[Pace, Pace, float], None],
        *,
        stalled_s: float = STALLED_SECONDS,
    ) -> None:
        """A batch that has been with the log for `stalled_s` makes it STALLED."""
        self._stalled_s = stalled_s
        self.pace = Pace.FINE
        self.stalls = 0
        self._watched = watched
        self._changed = changed
        self._suspected = Pace.FINE
        self._waited_s = 0.0
        self._calm_at_s = 0.0
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Watch no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        waiting_s = self._watched.waiting_s()
        seen = pace_of(waiting_s, self._stalled_s)
        is_suspicion = seen > self.pace and seen > self._suspected
        self._suspected = seen
        # Armed before anybody is told: what they do may fail.
        self._timer = self._loop.call_later(
            _AGAIN_SECONDS if is_suspicion else next_look_s(waiting_s, self._stalled_s), self._look
        )
        now_s = self._loop.time()
        if waiting_s:
            self._waited_s = waiting_s
        if seen is not Pace.FINE:
            self._calm_at_s = now_s + CALM_SECONDS
        if seen > self.pace:
            if not is_suspicion:
                self._enter(seen)
        elif seen < self.pace and self.pace is Pace.STALLED:
            self._enter(Pace.SLOW)
        elif self.pace is Pace.SLOW and now_s >= self._calm_at_s:
            self._enter(Pace.FINE)

    def _enter(self, pace: Pace) -> None:
        before, self.pace = self.pace, pace
        self._watched.stalled = pace is Pace.STALLED
        if pace is Pace.STALLED:
            self.stalls += 1
        self._changed(before, pace, self._waited_s)


def tell_pace(observer: Observer, log: LogName, before: Pace, pace: Pace, waited_s: float) -> None:
    """Say that a log takes its batches slower, or faster again."""
    if pace is Pace.STALLED:
        observer.log_stalled(log, waited_s)
    elif before is Pace.STALLED:
        observer.log_moves(log, waited_s)
    elif pace is Pace.SLOW:
        observer.log_slow(log, waited_s)
