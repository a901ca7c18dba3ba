"""The index: one small entry for every pending message, in arrays instead of objects.

An entry is a *slot*, a number that stays the same while the message is pending and is used again
afterwards. Bodies are not here: a message is read back from the log when its turn comes. 47 bytes a
slot and 8 in the extent tables keep ten million waiting messages below one gigabyte.

The `next` link of a slot is in one chain at a time: the lane's queue while READY, a timer bucket
while SCHEDULED, the free list while FREE. So neither queues nor timers cost memory of their own.
"""

from __future__ import annotations

from array import array
from enum import IntEnum

NO_SLOT = 0xFFFFFFFF
SHRINK_ABOVE = 4096
"""Slots, all free, whose memory is worth giving back."""


class State(IntEnum):
    """Where a slot stands. FREE is not a state of a message."""

    FREE = 0
    READY = 1
    SCHEDULED = 2
    IN_FLIGHT = 3


class Index:
    """The arrays, and the slots that are free. All operations are O(1).

    `id_position`  where the message was first stored; its id.
    `position`     where its record is now (copied forward or not).
    `retry`        where its last RETRY record is; 0 when there is none.
    `due_at`       by the queue's clock, while SCHEDULED.
    `size`         bytes its record takes in the log, chunks included, at most 2^32 - 1.
    """

    __slots__ = (
        "_free",
        "attempts",
        "count",
        "due_at",
        "id_position",
        "lane",
        "live_bytes",
        "next",
        "position",
        "retry",
        "size",
        "state",
    )

    def __init__(self) -> None:
        self.count = 0
        self.live_bytes = 0
        self._reset()

    def _reset(self) -> None:
        self.id_position = array("Q")
        self.position = array("Q")
        self.retry = array("Q")
        self.due_at = array("Q")
        self.size = array("I")
        self.lane = array("I")
        self.next = array("I")
        self.attempts = array("H")
        self.state = array("B")
        self._free = NO_SLOT

    def add(self, position: int, lane: int, size: int) -> int:
        """Make a READY entry for the message stored at `position`; returns its slot."""
        self.count += 1
        self.live_bytes += size
        slot = self._free
        if slot != NO_SLOT:
            self._free = self.next[slot]
            self.id_position[slot] = position
            self.position[slot] = position
            self.retry[slot] = 0
            self.due_at[slot] = 0
            self.size[slot] = size
            self.lane[slot] = lane
            self.attempts[slot] = 0
            self.state[slot] = 1
            return slot
        slot = len(self.state)
        self.id_position.append(position)
        self.position.append(position)
        self.retry.append(0)
        self.due_at.append(0)
        self.size.append(size)
        self.lane.append(lane)
        self.next.append(NO_SLOT)
        self.attempts.append(0)
        self.state.append(1)
        return slot

    def remove(self, slot: int) -> None:
        """Free the slot of a message that is settled. It must be in no chain."""
        self.count -= 1
        self.live_bytes -= self.size[slot]
        self.state[slot] = 0
        self.next[slot] = self._free
        self._free = slot

    def holds(self, slot: int, id_position: int) -> bool:
        """Whether a slot is still that message's: it may be free by now, or another one's."""
        return (
            slot < len(self.state)
            and self.id_position[slot] == id_position
            and self.state[slot] != 0
        )

    def shrink(self) -> bool:
        """Give the memory of a past backlog back, where nothing is pending; say whether it was.

        Slots that somebody still remembers are out of range then: see `holds`.
        """
        if self.count or len(self.state) <= SHRINK_ABOVE:
            return False
        self._reset()
        return True

    @property
    def slots(self) -> int:
        """Slots in use or free."""
        return len(self.state)
