"""When to look at a call again: one timer for all of them.

A call has one alarm at most, at the earliest of its instants; when that has gone off, whoever looks
at it sets the next. Most calls wait for hours, or end long before they expire. So what is due
within the next half hour or so is in a heap, and what comes later lies in one list for each
stretch of time, unsorted: that costs 8 bytes a call. A stretch that comes near is moved to the heap
a portion at a time.

An alarm that was replaced by an earlier one is dropped when it comes up, and all such are when they
are more than half.

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

STRETCH_BITS: Final = 30
"""A stretch has 2**30 us, 18 minutes."""
_LONGEST_S: Final = 60.0
_SHORTEST_S: Final = 0.001
_AT_ONCE: Final = 500
"""Calls looked at, or moved, before the loop has its turn: a millisecond or two."""
_SPARE: Final = 64
_KEY_BITS: Final = 96
_KEY: Final = (1 << _KEY_BITS) - 1


class Alarms:
    """The alarms of a partition's calls. `look` is called with each call whose alarm went off."""

    __slots__ = (
        "_calls",
        "_clock",
        "_coming",
        "_count",
        "_entries",
        "_far",
        "_heap",
        "_is_stopped",
        "_look",
        "_near",
        "_timer",
    )

    def __init__(
        self, calls: Mapping[int, Call], look: Callable[[Call], None], clock: SteadyClock
    ) -> None:
        self._calls = calls
        self._look = look
        self._clock = clock
        self._heap: list[int] = []  # instant and key, as one number
        self._far: dict[int, list[int]] = {}  # keys by the number of their stretch
        self._coming: list[int] = []  # keys that are being moved to the heap
        self._near = 0  # the last stretch whose alarms belong into the heap
        self._entries = 0  # in all of them
        self._count = 0  # calls with an alarm
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False

    def __len__(self) -> int:
        return self._count

    @property
    def entries(self) -> int:
        """How many are kept, with those that were replaced."""
        return self._entries

    def set(self, call: Call, at_us: int) -> None:
        """Look at a call at this instant, or earlier where that was said already."""
        before_us = call.alarm_us
        if 0 < before_us <= at_us:
            return
        self._count += not before_us
        call.alarm_us = at_us
        if not self._near:
            self._come_nearer()
        self._add(call.key, at_us)
        if self._entries > 2 * self._count + _SPARE:
            self._forget_replaced()

    def _add(self, key: int, at_us: int) -> None:
        self._entries += 1
        stretch = at_us >> STRETCH_BITS
        if stretch > self._near:
            self._far.setdefault(stretch, []).append(key)
            if self._timer is None:
                self._arm()
            return
        entry = at_us << _KEY_BITS | key
        heappush(self._heap, entry)
        if self._heap[0] == entry:
            self._arm()

    def drop(self, call: Call) -> None:
        """Do not look at it any more."""
        if call.alarm_us:
            self._count -= 1
            call.alarm_us = 0

    def stop(self) -> None:
        """Look at nothing any more. Idempotent."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _forget_replaced(self) -> None:
        self._heap = [entry for entry in self._heap if self._is_set(entry)]
        heapify(self._heap)
        self._entries = len(self._heap) + len(self._coming)
        for stretch, keys in list(self._far.items()):
            kept = list({key: None for key in keys if self._stretch_of(key) == stretch})
            if kept:
                self._far[stretch] = kept
                self._entries += len(kept)
            else:
                del self._far[stretch]

    def _is_set(self, entry: int) -> bool:
        call = self._calls.get(entry & _KEY)
        return call is not None and call.alarm_us == entry >> _KEY_BITS

    def _stretch_of(self, key: int) -> int:
        call = self._calls.get(key)
        return 0 if call is None else call.alarm_us >> STRETCH_BITS

    def _come_nearer(self) -> None:
        """Move what has come near, a portion of it: this stretch, and the next."""
        near = (self._clock.wall_us() >> STRETCH_BITS) + 1
        if near > self._near:
            self._near = near
            for stretch in [stretch for stretch in self._far if stretch <= near]:
                self._coming += self._far.pop(stretch)
        portion = self._coming[-_AT_ONCE:]
        del self._coming[-_AT_ONCE:]
        self._entries -= len(portion)
        for key in portion:
            call = self._calls.get(key)
            if call is not None and call.alarm_us:
                self._entries += 1
                heappush(self._heap, call.alarm_us << _KEY_BITS | key)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_stopped or not self._entries:
            return
        wait_s = _LONGEST_S
        if self._coming:
            wait_s = _SHORTEST_S
        elif self._heap:
            wait_s = ((self._heap[0] >> _KEY_BITS) - self._clock.wall_us()) / 1_000_000
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(min(max(wait_s, _SHORTEST_S), _LONGEST_S), self._go_off)

    def _go_off(self) -> None:
        self._timer = None
        self._come_nearer()
        now_us = self._clock.wall_us()
        for _ in range(_AT_ONCE):
            if not self._heap or self._heap[0] >> _KEY_BITS > now_us:
                break
            entry = heappop(self._heap)
            self._entries -= 1
            if self._is_set(entry):
                call = self._calls[entry & _KEY]
                self.drop(call)
                self._look(call)
        self._arm()
