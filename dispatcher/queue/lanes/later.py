"""Messages that wait for others of their order key, and for their time besides.

They are BEHIND, in the chain of their line, and in no timer; outside they are `scheduled` until
their time has come, and `ready` from then on. So they are counted, of each lane and of all, by the
second in which their time comes, and one alarm a second at most takes those out of the counts whose
time is over. Nothing is looked through.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from dispatcher.core.clock import SteadyClock
from dispatcher.queue.lanes.alarm import Alarm
from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending

_SHIFT: Final = 20
_BEHIND: Final = int(State.BEHIND)
_FEW: Final = 64


class Later:
    """The counts of one partition: `count` is that of all, `Lane.later` that of a lane. What is
    `due_at` of a slot stays the same from `enter` to `leave`."""

    __slots__ = ("_alarm", "_clock", "_heap", "_lanes", "_over", "_pending", "_ticks", "count")

    def __init__(self, pending: Pending, lanes: Lanes, clock: SteadyClock) -> None:
        self._pending = pending
        self._lanes = lanes
        self._clock = clock
        self._alarm = Alarm(clock.now_us, self._pass)
        self._ticks: dict[int, dict[int, int]] = {}  # of each tick that is ahead, by lane
        self._heap: list[int] = []
        self._over = -1
        self.count = 0

    def has(self, slot: int) -> bool:
        """Whether a slot is BEHIND and its time has not come, a second late at most."""
        index = self._pending.index
        return index.state[slot] == _BEHIND and _tick(index.due_at[slot]) > self._over

    def enter(self, slot: int) -> None:
        """A slot is BEHIND from here on, until its time has come at least."""
        index = self._pending.index
        tick = _tick(index.due_at[slot])
        if tick <= self._over:
            return
        number = index.lane[slot]
        counts = self._ticks.get(tick)
        if counts is None:
            counts = self._ticks[tick] = {}
            heappush(self._heap, tick)
            self._alarm.set(self._heap[0] << _SHIFT)
        counts[number] = counts.get(number, 0) + 1
        self._lanes.by_number[number].later += 1
        self.count += 1

    def leave(self, slot: int) -> None:
        """A slot is BEHIND no longer, or about to have another time."""
        index = self._pending.index
        tick = _tick(index.due_at[slot])
        if tick <= self._over:
            return
        number, counts = index.lane[slot], self._ticks[tick]
        self._lanes.by_number[number].later -= 1
        self.count -= 1
        counts[number] -= 1
        if not counts[number]:
            del counts[number]
        if not counts:
            del self._ticks[tick]
            if len(self._heap) > 2 * len(self._ticks) + _FEW:
                self._heap = sorted(self._ticks)

    def close(self) -> None:
        """Do nothing more by itself. Idempotent."""
        self._alarm.cancel()

    def _pass(self) -> None:
        """Seconds are over."""
        self._over = self._clock.now_us() >> _SHIFT
        while self._heap and self._heap[0] <= self._over:
            for number, count in self._ticks.pop(heappop(self._heap), {}).items():
                self._lanes.by_number[number].later -= count
                self.count -= count
        if self._heap:
            self._alarm.set(self._heap[0] << _SHIFT)


def _tick(due_us: int) -> int:
    """The second that an instant is in is over when this one begins; -1: there is no instant."""
    return (due_us >> _SHIFT) + 1 if due_us else -1
