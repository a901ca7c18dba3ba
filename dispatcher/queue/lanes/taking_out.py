"""Taking a message out of wherever it waits: its lane, a timer, or the line of a key."""

from __future__ import annotations

from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.lanes.lines import Lines
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.warm import Warm
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending


class TakingOut:
    """Takes messages out that wait."""

    __slots__ = ("_lanes", "_lines", "_lineup", "_pending", "_warm")

    def __init__(
        self, pending: Pending, lanes: Lanes, *, lineup: Lineup, lines: Lines, warm: Warm
    ) -> None:
        self._pending = pending
        self._lanes = lanes
        self._lineup = lineup
        self._lines = lines
        self._warm = warm

    def waits(self, slot: int) -> bool:
        """Whether the message of a slot waits, so that it can be taken out."""
        state = self._pending.index.state[slot]
        return state == State.READY or state == State.SCHEDULED or state == State.BEHIND

    def out_of_lane(self, slot: int) -> None:
        """Take a message out of its lane, or of its timer, whose bucket keeps the slot; one that is
        BEHIND is in neither."""
        index = self._pending.index
        lane = self._lanes.by_number[index.lane[slot]]
        warm = slot in self._warm
        self._lineup.take_out(slot, warm=warm)
        if warm:
            self._warm.drop(lane, slot)
        if index.state[slot] == State.SCHEDULED:
            self._pending.timers.lift(slot)

    def give_up(self, slot: int) -> None:
        """A message that waits is given up: it is on its way to the dead-letter log from here on.
        Its age and its deadline count no more."""
        pending = self._pending
        self.out_of_lane(slot)
        if pending.has_lines:
            self._lines.take_out(slot)
        if pending.ages is not None:
            pending.ages.remove(slot)
        pending.deadlines.remove(slot)
        self._lineup.bury(slot)
