"""In which chain a slot is: its lane's while READY, a timer's bucket while SCHEDULED, or none."""

from __future__ import annotations

from dispatcher.core.clock import QueueUs
from dispatcher.queue.lanes.lanes import Lane, Lanes
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending


class Lineup:
    """Moves slots between lanes and timers, and keeps the counts of lanes in step."""

    __slots__ = ("_lanes", "_pending")

    def __init__(self, pending: Pending, lanes: Lanes) -> None:
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

    def expire(self, now_us: QueueUs) -> list[Lane]:
        """Make messages READY whose retry is due; returns their lanes."""
        lanes = []
        for slot in self._pending.timers.expire(now_us):
            lane = self.line_up(slot)
            lane.scheduled -= 1
            lanes.append(lane)
        return lanes

    def take_out(self, slot: int, *, warm: bool) -> None:
        """Take a READY or SCHEDULED slot out of its lane; `warm` says whether its message is in
        memory."""
        index = self._pending.index
        lane = self._lanes.by_number[index.lane[slot]]
        if index.state[slot] == State.SCHEDULED:
            lane.scheduled -= 1
        else:
            lane.take_out(index, slot, warm=warm)

    def bury(self, slot: int) -> None:
        """A message that is in no chain is on its way to the dead-letter log."""
        index = self._pending.index
        index.state[slot] = State.BURYING
        self._lanes.by_number[index.lane[slot]].away += 1

    def buried(self, slot: int) -> None:
        """It is there, and about to be settled."""
        self._lanes.by_number[self._pending.index.lane[slot]].away -= 1
