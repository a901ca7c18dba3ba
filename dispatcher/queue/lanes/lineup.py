"""In which chain a slot is: its lane's while READY, a timer's bucket while SCHEDULED, or none.

Those of lines are in the hands of `lanes.lines`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from dispatcher.core.clock import QueueUs
from dispatcher.queue.lanes.lanes import Lane, Lanes
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending

_SCHEDULED: Final = int(State.SCHEDULED)


def _passes(slot: int) -> bool:
    return True


class Lineup:
    """Moves slots between lanes and timers, and keeps the counts of lanes in step."""

    __slots__ = ("_lanes", "_passes", "_pending")

    def __init__(
        self, pending: Pending, lanes: Lanes, passes: Callable[[int], bool] = _passes
    ) -> None:
        """`passes` is asked of a message with a key whose time has come: whether it may go to its
        lane now. If not, it is in another chain."""
        self._passes = passes
        self._pending = pending
        self._lanes = lanes

    def line_up(self, slot: int) -> Lane:
        """Put a message at the end of its lane, to be read back when its turn comes."""
        index = self._pending.index
        index.state[slot] = State.READY
        lane = self._lanes.by_number[index.lane[slot]]
        lane.push(index, slot, warm=False)
        return lane

    def schedule(self, slot: int, due_at: QueueUs, now_us: QueueUs) -> None:
        """Let a message wait until `due_at`, by the queue's clock."""
        pending = self._pending
        index = pending.index
        index.state[slot] = State.SCHEDULED
        index.due_at[slot] = due_at
        pending.owned.forget_left(slot)
        self._lanes.by_number[index.lane[slot]].scheduled += 1
        pending.timers.add(slot, now_us)

    def schedule_all(self, slots: list[int], now_us: QueueUs) -> None:
        """Do the same for many, at a start: each until its `due_at`."""
        states, lane_of = self._pending.index.state, self._pending.index.lane
        for slot in slots:
            states[slot] = _SCHEDULED
        for number, count in Counter([lane_of[slot] for slot in slots]).items():
            self._lanes.by_number[number].scheduled += count
        self._pending.timers.add_all(slots, now_us)

    def expire(self, now_us: QueueUs) -> list[Lane]:
        """Make messages READY whose time has come; returns their lanes."""
        return self.due(self._pending.timers.expire(now_us), now_us)

    def due(self, slots: list[int], now_us: QueueUs) -> list[Lane]:
        """Make SCHEDULED messages READY that are in no timer any more; returns their lanes."""
        lanes = []
        ages, deadlines = self._pending.ages, self._pending.deadlines
        for slot in slots:
            if ages is not None and slot not in ages:  # it was delayed: its age counts from here
                ages.add(slot, now_us)
            if deadlines.at:
                deadlines.again(slot, now_us)
            lane = self._lanes.by_number[self._pending.index.lane[slot]]
            lane.scheduled -= 1
            if self._pending.has_lines and not self._passes(slot):
                continue
            lanes.append(self.line_up(slot))
        return lanes

    def take_out(self, slot: int, *, warm: bool) -> None:
        """Take a READY or SCHEDULED slot out of its lane; `warm` says whether its message is in
        memory. One that is BEHIND is in none."""
        index = self._pending.index
        lane = self._lanes.by_number[index.lane[slot]]
        if index.state[slot] == State.SCHEDULED:
            lane.scheduled -= 1
        elif index.state[slot] == State.READY:
            lane.take_out(index, slot, warm=warm)

    def bury(self, slot: int) -> None:
        """A message that is in no chain is on its way to the dead-letter log."""
        self._pending.index.state[slot] = State.BURYING
        self.leaves(slot)

    def leaves(self, slot: int) -> None:
        """A message that is in no chain is still of its lane, until it is `buried`."""
        self._lanes.by_number[self._pending.index.lane[slot]].away += 1

    def buried(self, slot: int) -> None:
        """It is there, and about to be settled."""
        self._lanes.by_number[self._pending.index.lane[slot]].away -= 1
