"""The chains of lines: who waits behind whom.

A slot that is BEHIND is in one chain: through the index's `next`, as everywhere, and with a link
back, so that it leaves from the middle without a look at the others. The counts of lanes are kept
in step.
"""

from __future__ import annotations

from typing import Final

from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.lanes.later import Later
from dispatcher.queue.lanes.line import Line, OrderLine
from dispatcher.queue.lanes.numbers import SlotNumbers
from dispatcher.queue.pending.index import NO_SLOT, State
from dispatcher.queue.pending.pending import Pending

MOST_BEFORE: Final = 10_000
"""Messages before one that are counted, for whoever asks: every one is a step."""
_MOST_PASSED: Final = 1000
"""Messages that are passed by one that is redriven, to stand where its id says."""


class Chains:
    """The chains of one partition's lines. `back` has the link back of each slot that is not the
    head of its chain."""

    __slots__ = ("_lanes", "_later", "_pending", "back")

    def __init__(self, pending: Pending, lanes: Lanes, later: Later) -> None:
        self._pending = pending
        self._lanes = lanes
        self._later = later
        self.back = SlotNumbers()

    def add(self, line: Line, slot: int) -> None:
        """Put a slot, in no chain, at the end of a line."""
        self.add_before(line, slot, NO_SLOT)

    def add_redriven(self, line: OrderLine, slot: int) -> None:
        """Let a redriven message wait where its id says, looked for from the last one on that came
        like this; the first few hundred that are in between are passed."""
        ids, links = self._pending.index.id_position, self._pending.index.next
        position = ids[slot]
        after = line.head if line.redriven == NO_SLOT else line.redriven
        for _ in range(_MOST_PASSED):
            if after == line.head or ids[after] < position:
                break
            after = self.back[after]
        for _ in range(_MOST_PASSED):
            if after == NO_SLOT or ids[after] > position:
                break
            after = links[after]
        self.add_before(line, slot, after)
        line.redriven = slot

    def add_before(self, line: Line, slot: int, after: int) -> None:
        """Put a slot, in no chain, before another one of a line; NO_SLOT: at its end."""
        index, back = self._pending.index, self.back
        before = line.tail if after == NO_SLOT else NO_SLOT
        if after != NO_SLOT and after != line.head:
            before = back[after]
        index.next[slot] = after
        back[slot] = before
        if before == NO_SLOT:
            line.head = slot
        else:
            index.next[before] = slot
        if after == NO_SLOT:
            line.tail = slot
        else:
            back[after] = slot
        index.state[slot] = State.BEHIND
        self._pending.owned.forget_left(slot)
        self._lanes.by_number[index.lane[slot]].behind += 1
        if index.due_at[slot]:
            self._later.enter(slot)

    def remove(self, line: Line, slot: int) -> None:
        """Take a slot out of the chain of a line; it is in none from here on."""
        index = self._pending.index
        if index.due_at[slot]:
            self._later.leave(slot)
        after = index.next[slot]
        before = NO_SLOT if slot == line.head else self.back[slot]
        if before == NO_SLOT:
            line.head = after
        else:
            index.next[before] = after
        if after == NO_SLOT:
            line.tail = before
        else:
            self.back[after] = before
        if isinstance(line, OrderLine) and line.redriven == slot:
            line.redriven = before
        index.state[slot] = State.READY
        self._lanes.by_number[index.lane[slot]].behind -= 1

    def count_before(self, line: Line, wanted: int) -> int:
        """How many wait before a slot, up to `MOST_BEFORE`."""
        links = self._pending.index.next
        slot, before = line.head, 0
        while slot not in (NO_SLOT, wanted) and before < MOST_BEFORE:
            slot, before = links[slot], before + 1
        return before
