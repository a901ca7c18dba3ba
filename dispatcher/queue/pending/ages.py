"""Pending messages by how long they have waited, where `MAX_AGE` bounds that.

While a process lives only time that was seen to pass counts. How long a message had waited before
is what the wall clock said at the start, and that may have been ahead: so what was too old at the
start already is not sure to be so before `SURE_SECONDS` have passed, in which machines set their
clocks; and when the clock is set back, the age is less by as much.

A chain through two arrays, oldest first: entering and leaving are O(1), and the oldest is at hand,
so nothing is looked through. It costs 16 bytes a slot, and exists only where it is needed.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from dispatcher.core.clock import QueueUs
from dispatcher.queue.pending.index import NO_SLOT

SURE_SECONDS = 300


class Place(NamedTuple):
    """Of a slot in the chain: when its message began to wait, and the slot before it."""

    since: int
    before: int


class Ages:
    """The chain, from `first` on. `max_age_us` is how long a message may wait; `since` of a slot is
    when it began to, by the queue's clock, and stays until another message has the slot.
    `opened_us` is when this process began, and `ahead_us` how far the wall clock was ahead then, as
    far as that turned out since."""

    __slots__ = (
        "_after",
        "_before",
        "_last",
        "ahead_us",
        "first",
        "max_age_us",
        "opened_us",
        "since",
    )

    def __init__(self, max_age_us: int) -> None:
        self.max_age_us = max_age_us
        self.opened_us = 0
        self.ahead_us = 0
        self.since = array("Q")
        self._after = array("I")
        self._before = array("I")
        self.first = NO_SLOT
        self._last = NO_SLOT

    def __contains__(self, slot: int) -> bool:
        """Whether a slot is in the chain."""
        return slot < len(self.since) and self._after[slot] != slot

    def note(self, slot: int, since_us: int) -> None:
        """Remember when a slot's message began to wait, outside of the chain."""
        missing = slot + 1 - len(self.since)
        if missing > 0:
            self.since.extend([0] * missing)
            self._after.extend([slot] * missing)  # a slot that is outside has no such neighbour
            self._before.extend([slot] * missing)
        self.since[slot] = since_us
        self._after[slot] = self._before[slot] = slot

    def add(self, slot: int, since_us: int) -> None:
        """Put a slot at the end. One that began to wait before the last one did (its clock was
        behind) counts from then on."""
        if self._last != NO_SLOT:
            since_us = max(since_us, self.since[self._last])
        self.note(slot, since_us)
        self._before[slot] = self._last
        self._after[slot] = NO_SLOT
        if self._last == NO_SLOT:
            self.first = slot
        else:
            self._after[self._last] = slot
        self._last = slot

    def remove(self, slot: int) -> None:
        """Take a slot out. Idempotent."""
        if slot >= len(self.since) or self._after[slot] == slot:
            return
        before, after = self._before[slot], self._after[slot]
        if before == NO_SLOT:
            self.first = after
        else:
            self._after[before] = after
        if after == NO_SLOT:
            self._last = before
        else:
            self._before[after] = before
        self._after[slot] = self._before[slot] = slot

    def place_of(self, slot: int) -> Place | None:
        """Where a slot is in the chain; None: outside."""
        return Place(self.since[slot], self._before[slot]) if slot in self else None

    def put(self, slot: int, place: Place) -> None:
        """Put a slot where another one was, which has left since it was asked for its place; no
        other has."""
        self.remove(slot)
        self.note(slot, place.since)
        before = place.before
        after = self.first if before == NO_SLOT else self._after[before]
        self._before[slot], self._after[slot] = before, after
        if before == NO_SLOT:
            self.first = slot
        else:
            self._after[before] = slot
        if after == NO_SLOT:
            self._last = slot
        else:
            self._before[after] = slot

    def expires_us(self, slot: int) -> QueueUs:
        """When the message of a slot has waited for too long."""
        since = self.since[slot]
        if since < self.opened_us:
            since += self.ahead_us
        return QueueUs(since + self.max_age_us)

    @property
    def sure_at_us(self) -> QueueUs:
        """When what was too old at the start is sure to be."""
        return QueueUs(self.opened_us + SURE_SECONDS * 1_000_000)

    def is_doubtful(self, slot: int, now_us: int) -> bool:
        """Whether a message that is too old may be so only by a clock that was ahead."""
        return now_us < self.sure_at_us and self.expires_us(slot) <= self.opened_us
