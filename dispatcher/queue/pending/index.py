"""The index: one small entry for every pending message, in arrays instead of objects.

An entry is a *slot*, a number that stays the same while the message is pending and is used again
afterwards. Bodies are not here: a message is read back from the log when its turn comes. 49 bytes a
slot and 8 in the extent tables keep ten million waiting messages below one gigabyte.

The `next` link of a slot is in one chain at a time: the lane's queue while READY, a timer bucket
while SCHEDULED, a line's while BEHIND, the free list while FREE. So neither queues nor timers cost
memory of their own. In the lane's queue, where nothing is due, `due_at` is the link back: a slot is
taken out of the middle at once.
"""

from __future__ import annotations

from array import array
from enum import IntEnum
from typing import Final, TypeAlias

Name: TypeAlias = tuple[int, int]
"""What stays of a message while its slot may be used again: where it was first stored, and its
incarnation. It keeps it wherever it is copied."""
NO_SLOT: Final = 0xFFFFFFFF
_GROW_LEAST: Final = 16
_GROW_MOST: Final = 4096
_SHORT = 0xFFFF
_FEW: Final = 8
"""Messages that are entered faster one by one."""
SHRINK_ABOVE = 4096
"""Slots, all free, whose memory is worth giving back."""


class State(IntEnum):
    """Where a slot stands. FREE is not a state of a message. IN_FLIGHT: an attempt is under way;
    BURYING: on its way to the dead-letter log, or its end waits for space; SETTLING: its end is
    with the log, so that it must not be copied any more; REVIVING: its dead letter has to go before
    it waits for its turn again. In these four it is in no chain. BEHIND: it waits for others of its
    order key or of its flow key, in the chain of that (`lanes.lines`). MOVING: it is being sent to
    another destination; it must not be copied, and is in no chain but perhaps that of its order
    key."""

    FREE = 0
    READY = 1
    SCHEDULED = 2
    IN_FLIGHT = 3
    BURYING = 4
    REVIVING = 5
    SETTLING = 6
    BEHIND = 7
    MOVING = 8


class Index:
    """The arrays, and the slots that are free. All operations are O(1).

    `id_position`  where the message was first stored; with its incarnation, its id.
    `incarnation`  the number that `number_of` gives for its incarnation.
    `position`     where its record is now (copied forward or not).
    `retry`        where its last RETRY record is; 0 when there is none.
    `due_at`       by the queue's clock, while SCHEDULED, or BEHIND (0: it has no time to wait for);
                   while READY the slot before in its lane.
    `shrink_above` how many slots, all free, `shrink` leaves as they are.
    `size`         bytes its record takes in the log, chunks included, at most 2^32 - 1.
    """

    __slots__ = (
        "_free",
        "_last",
        "_last_number",
        "_numbers",
        "attempts",
        "count",
        "due_at",
        "id_position",
        "incarnation",
        "incarnations",
        "lane",
        "live_bytes",
        "next",
        "position",
        "retry",
        "shrink_above",
        "size",
        "state",
    )

    def __init__(self) -> None:
        self.count = 0
        self.live_bytes = 0
        self.shrink_above = SHRINK_ABOVE
        self.incarnations: list[int] = []
        self._numbers: dict[int, int] = {}
        self._last = -1
        self._last_number = -1
        self._reset()

    def _reset(self) -> None:
        self.id_position = array("Q")
        self.incarnation = array("H" if len(self.incarnations) <= _SHORT else "I")
        self.position = array("Q")
        self.retry = array("Q")
        self.due_at = array("Q")
        self.size = array("I")
        self.lane = array("I")
        self.next = array("I")
        self.attempts = array("H")
        self.state = array("B")
        self._free = NO_SLOT

    def number_of(self, incarnation: int) -> int:
        """A small number for an incarnation, -1 while no message of it was ever here."""
        return self._numbers.get(incarnation, -1)

    def incarnation_of(self, slot: int) -> int:
        """The incarnation of a slot's message."""
        return self.incarnations[self.incarnation[slot]]

    def name_of(self, slot: int) -> Name:
        """The name of a slot's message, which `holds` is asked with later."""
        return self.id_position[slot], self.incarnation_of(slot)

    def _enter(self, incarnation: int) -> None:
        self._last = incarnation
        number = self._numbers.get(incarnation)
        if number is None:
            number = self._numbers[incarnation] = len(self.incarnations)
            self.incarnations.append(incarnation)
            if number == _SHORT + 1:  # as many starts with something left of each of them
                self.incarnation = array("I", self.incarnation)
        self._last_number = number

    def add(self, position: int, incarnation: int, lane: int, size: int) -> int:
        """Make a READY entry for the message stored at `position`; returns its slot."""
        if incarnation != self._last:
            self._enter(incarnation)
        self.count += 1
        self.live_bytes += size
        slot = self._free
        if slot == NO_SLOT:
            slot = self._grow()
        self._free = self.next[slot]
        self.id_position[slot] = position
        self.position[slot] = position
        self.size[slot] = size
        self.state[slot] = 1
        # To read from an array takes a third of what it takes to write to it, and these are mostly
        # what they were.
        if self.incarnation[slot] != self._last_number:
            self.incarnation[slot] = self._last_number
        if self.lane[slot] != lane:
            self.lane[slot] = lane
        if self.retry[slot]:
            self.retry[slot] = 0
        if self.due_at[slot]:
            self.due_at[slot] = 0
        if self.attempts[slot]:
            self.attempts[slot] = 0
        return slot

    def add_all(
        self, positions: list[int], incarnation: int, lanes: list[int], sizes: list[int]
    ) -> list[int]:
        """Do what `add` does for many messages of one incarnation; returns their slots."""
        count = len(positions)
        slots: list[int] = []
        while len(slots) < count and (self._free != NO_SLOT or count - len(slots) < _FEW):
            at = len(slots)
            slots.append(self.add(positions[at], incarnation, lanes[at], sizes[at]))
        at = len(slots)
        if at < count:
            if incarnation != self._last:
                self._enter(incarnation)
            first = len(self.state)
            slots.extend(range(first, first + count - at))
            self._append(positions[at:], lanes[at:], sizes[at:])
        return slots

    def _append(self, positions: list[int], lanes: list[int], sizes: list[int]) -> None:
        """Make slots that are READY at once; none is free now."""
        count = len(positions)
        self.count += count
        self.live_bytes += sum(sizes)
        ids = array("Q", positions)
        self.id_position.extend(ids)
        self.position.extend(ids)
        self.size.extend(array("I", sizes))
        self.lane.extend(array("I", lanes))
        number = array(self.incarnation.typecode, [self._last_number])
        self.incarnation.extend(number * count)
        self.state.frombytes(b"\1" * count)
        for column in (self.retry, self.due_at, self.attempts, self.next):
            column.frombytes(bytes(count * column.itemsize))

    def _grow(self) -> int:
        """Make free slots, and return the first of them; none is free now."""
        first = len(self.state)
        more = min(max(first // 8, _GROW_LEAST), _GROW_MOST)
        for column in (
            self.id_position,
            self.incarnation,
            self.position,
            self.retry,
            self.due_at,
            self.size,
            self.lane,
            self.attempts,
            self.state,
        ):
            column.frombytes(bytes(more * column.itemsize))
        self.next.extend(range(first + 1, first + more))
        self.next.append(NO_SLOT)
        return first

    def remove(self, slot: int) -> None:
        """Free the slot of a message that is settled. It must be in no chain."""
        self.count -= 1
        self.live_bytes -= self.size[slot]
        self.state[slot] = 0
        self.next[slot] = self._free
        self._free = slot

    def leave(self, slot: int) -> None:
        """A message is settled whose slot is in a chain still: it is FREE, and not used again
        before whoever goes through the chain gives it back."""
        self.count -= 1
        self.live_bytes -= self.size[slot]
        self.state[slot] = 0

    def give_back(self, slot: int) -> None:
        """A FREE slot is in no chain any more."""
        self.next[slot] = self._free
        self._free = slot

    def holds(self, slot: int, id_position: int, incarnation: int) -> bool:
        """Whether a slot is still that message's: it may be free by now, or another one's."""
        return (
            slot < len(self.state)
            and self.id_position[slot] == id_position
            and self.state[slot] != 0
            and self.incarnations[self.incarnation[slot]] == incarnation
        )

    def shrink(self) -> bool:
        """Give the memory of a past backlog back, where nothing is pending; say whether it was.

        Slots that somebody still remembers are out of range then: see `holds`.
        """
        if self.count or len(self.state) <= self.shrink_above:
            return False
        self._reset()
        return True

    @property
    def slots(self) -> int:
        """Slots in use or free."""
        return len(self.state)
