"""Ends attempts that take too long, with one timer for all of them.

Nearly all attempts end within milliseconds and never meet the timer: they are only put into a set
and taken out. What is older than a tick goes into a heap by its deadline. What ends there is not
looked for; the heap is made anew when most of it is over. So an attempt that goes well costs two
operations on a set, and ten thousand that hang cost one comparison each.

A deadline that has come is not acted on at once. When the process stood still (a stopped container,
a suspended machine), timers are late, and answers that came meanwhile are still to be read: event
loops call timers before sockets. So the sockets are read once more before anything is given up.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from dispatcher.delivery.attempt import Attempt

_NEVER_S: Final = math.inf
_TIMER_GRAIN_S: Final = 0.001
"""uvloop's timers and clock count whole milliseconds and may fire one early."""

_TICK_S: Final = 0.25
_SPARE: Final = 64  # so many entries that are over do not matter


class Deadlines:
    """The attempts in flight."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[Attempt], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._young: set[Attempt] = set()
        self._old: dict[int, Attempt] = {}  # by their tickets
        self._heap: list[tuple[float, int]] = []  # deadlines and tickets, those that are over too
        self._tickets = 0
        self._tick_s = _NEVER_S  # when the young ones become old; every one of them ends later
        self._armed_s = _NEVER_S
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __iter__(self) -> Iterator[Attempt]:
        return chain(self._young, self._old.values())

    def __contains__(self, attempt: Attempt) -> bool:
        return attempt in self._young or attempt.ticket in self._old

    def add(self, attempt: Attempt) -> None:
        """Watch an attempt that starts now, until it is discarded or expires."""
        if self._tick_s == _NEVER_S:
            self._tick_s = attempt.started_s + _TICK_S
            self._arm()
        if attempt.deadline_s > self._tick_s:
            self._young.add(attempt)
        else:
            self._watch(attempt)
            self._arm()

    def discard(self, attempt: Attempt) -> None:
        """Watch it no longer. Idempotent."""
        if not attempt.ticket:
            self._young.discard(attempt)
            return
        self._old.pop(attempt.ticket, None)
        if len(self._heap) > 2 * len(self._old) + _SPARE:
            self._heap = [entry for entry in self._heap if entry[1] in self._old]
            heapq.heapify(self._heap)

    def clear(self) -> list[Attempt]:
        """Stop for good, and hand out what was still watched."""
        left = list(self)
        self._young.clear()
        self._old.clear()
        self._heap.clear()
        self._tick_s = _NEVER_S
        self._arm()
        return left

    def _watch(self, attempt: Attempt) -> None:
        self._tickets += 1
        attempt.ticket = self._tickets
        self._old[attempt.ticket] = attempt
        heapq.heappush(self._heap, (attempt.deadline_s, attempt.ticket))

    def _arm(self) -> None:
        """Let the timer fire for what comes first; one that fires too early is left alone."""
        nearest_s = self._heap[0][0] if self._heap else _NEVER_S
        nearest_s = min(nearest_s, self._tick_s)
        if nearest_s >= self._armed_s and nearest_s != _NEVER_S:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_s = nearest_s
        self._timer = None
        if nearest_s != _NEVER_S:
            self._timer = self._loop.call_at(nearest_s, self._fire)

    def _fire(self) -> None:
        now_s = self._loop.time() + _TIMER_GRAIN_S
        self._timer = None
        self._armed_s = _NEVER_S
        if now_s >= self._tick_s:
            self._tick_s = _NEVER_S
            for attempt in self._young:
                self._watch(attempt)
            self._young.clear()
        due: list[int] = []
        while self._heap and (self._heap[0][0] <= now_s or self._heap[0][1] not in self._old):
            due.append(heapq.heappop(self._heap)[1])
        self._arm()
        if due:
            # Two turns: the first may come before the loop looks at its sockets, the second cannot.
            self._loop.call_soon(self._loop.call_soon, self._give_up, due)

    def _give_up(self, due: list[int]) -> None:
        for ticket in due:
            attempt = self._old.pop(ticket, None)
            if attempt is None:
                continue
            try:
                self._expire(attempt)
            except Exception as error:
                # They are in the heap no more: those after this one would never expire.
                self._loop.call_exception_handler(
                    {"message": f"ending {attempt!r} failed", "exception": error}
                )
