"""When to look at a call again: one timer for all of them.

A call has one alarm at most, at the earliest of its instants; when that has gone off, whoever looks
at it sets the next. A hundred thousand suspended calls cost an entry of a heap each. An alarm that
was replaced by an earlier one is dropped when it comes up, and all such are when they are half of
the heap.

Instants are microseconds since the epoch, by the wall clock. That may be set: so nothing is waited
for longer than a minute without looking at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from typing import Final

from dispatcher.core.clock import SteadyClock
from dispatcher.functions.model import Call

_LONGEST_S: Final = 60.0
_SHORTEST_S: Final = 0.001
_AT_ONCE: Final = 500
"""Calls looked at before the loop has its turn: a millisecond or two."""
_SPARE: Final = 64
_KEY_BITS: Final = 96
_KEY: Final = (1 << _KEY_BITS) - 1


class Alarms:
    """The alarms of a partition's calls. `look` is called with each call whose alarm went off."""

    __slots__ = ("_calls", "_clock", "_count", "_heap", "_is_stopped", "_look", "_timer")

    def __init__(
        self, calls: Mapping[int, Call], look: Callable[[Call], None], clock: SteadyClock
    ) -> None:
        self._calls = calls
        self._look = look
        self._clock = clock
        self._heap: list[int] = []  # instant and key, as one number
        self._count = 0  # calls with an alarm
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False

    def __len__(self) -> int:
        return self._count

    def set(self, call: Call, at_us: int) -> None:
        """Look at a call at this instant, or earlier where that was said already."""
        if 0 < call.alarm_us <= at_us:
            return
        self._count += not call.alarm_us
        call.alarm_us = at_us
        entry = at_us << _KEY_BITS | call.key
        heappush(self._heap, entry)
        if len(self._heap) > 2 * self._count + _SPARE:
            self._heap = [entry for entry in self._heap if self._is_set(entry)]
            heapify(self._heap)
        if self._heap[0] == entry:
            self._arm()

    def drop(self, call: Call) -> None:
        """Do not look at it any more."""
        self._count -= bool(call.alarm_us)
        call.alarm_us = 0

    def stop(self) -> None:
        """Look at nothing any more. Idempotent."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _is_set(self, entry: int) -> bool:
        call = self._calls.get(entry & _KEY)
        return call is not None and call.alarm_us == entry >> _KEY_BITS

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap and not self._is_stopped:
            wait_s = ((self._heap[0] >> _KEY_BITS) - self._clock.wall_us()) / 1_000_000
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(max(wait_s, _SHORTEST_S), _LONGEST_S), self._go_off)

    def _go_off(self) -> None:
        now_us = self._clock.wall_us()
        self._timer = None
        for _ in range(_AT_ONCE):
            if not self._heap or self._heap[0] >> _KEY_BITS > now_us:
                break
            entry = heappop(self._heap)
            if self._is_set(entry):
                call = self._calls[entry & _KEY]
                self.drop(call)
                self._look(call)
        self._arm()
