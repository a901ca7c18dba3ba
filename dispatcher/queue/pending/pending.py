"""What is pending: index, extents and timers kept in step.

Every change of what the queue holds in memory goes through here: a message enters, moves to another
place in the log, and leaves. In which chain a slot waits is `lanes.lineup`'s to say. Nothing here
does I/O or decides anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from dispatcher.core.clock import QueueUs
from dispatcher.core.destination import Destination
from dispatcher.core.flow import Flow
from dispatcher.core.terms import Terms
from dispatcher.queue.pending.ages import Ages
from dispatcher.queue.pending.deadlines import Deadlines
from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.pending.guest import Guest, NoGuest
from dispatcher.queue.pending.index import Index
from dispatcher.queue.pending.owned import Owned
from dispatcher.queue.pending.slotmap import SlotMap
from dispatcher.queue.pending.timers import Timers
from dispatcher.queue.ports import Waiter

_SCHEDULED: Final = 2  # `State.SCHEDULED`: a member of an enum costs a look-up for every message


class Movable(Protocol):
    """A body that is still coming, whose chunk records may be copied forward meanwhile."""

    @property
    def positions(self) -> Sequence[int]:
        """Where its chunk records are, in order."""

    def move(self, position: int, to: int) -> None:
        """The record at `position` was copied, durably, to `to`."""


class Lines(Protocol):
    """Who lets messages wait for others with the same key (`lanes.lines`)."""

    def note(self, slot: int, place: bytes, terms: Terms, position: int) -> None:
        """Say which keys the message of a slot has, whose id has this position; `place` is
        `scheme://host[:port]`."""

    def note_orders(self, slots: list[int], places: list[bytes], order_keys: list[str]) -> None:
        """Say that of many that have an order key, and of nothing else but that."""

    def note_flow(
        self, slot: int, place: bytes, flow_key: str, flow: Flow | None, position: int
    ) -> None:
        """Say that of one that has a flow key, and of nothing else but that; `flow` is what it came
        with."""

    def open(self) -> None:
        """All records were read."""

    def waits(self, slot: int, due_us: int, now_us: QueueUs) -> bool:
        """Whether a message that is about to be lined up waits for others, and is in a line from
        here on. `due_us` is ahead where it waits for its time."""

    def left(self, slot: int) -> None:
        """The message of a slot is done."""

    @property
    def later(self) -> int:
        """How many messages wait for others of their order key, and for their time besides."""

    def is_later(self, slot: int) -> bool:
        """Whether the message of a slot does."""

    def hasten(self, slot: int) -> None:
        """One that waits for others does not wait for its time any longer."""

    def clear(self) -> None:
        """Nothing is pending: give memory back."""


class Bound(Protocol):
    """What has a destination: a lane."""

    @property
    def destination(self) -> Destination:
        """Where its messages go."""


class NoLines:
    """There are no keys."""

    def note(self, slot: int, place: bytes, terms: Terms, position: int) -> None:
        """See `Lines`, as all of this."""

    def note_orders(self, slots: list[int], places: list[bytes], order_keys: list[str]) -> None:
        """Nothing to do."""

    def note_flow(
        self, slot: int, place: bytes, flow_key: str, flow: Flow | None, position: int
    ) -> None:
        """Nothing to do."""

    def open(self) -> None:
        """Nothing to do."""

    def waits(self, slot: int, due_us: int, now_us: QueueUs) -> bool:
        """Nobody waits."""
        return False

    def left(self, slot: int) -> None:
        """Nothing to do."""

    @property
    def later(self) -> int:
        """There are none."""
        return 0

    def is_later(self, slot: int) -> bool:
        """Nobody waits."""
        return False

    def hasten(self, slot: int) -> None:
        """Nothing to do."""

    def clear(self) -> None:
        """Nothing to do."""


class Pending:
    """All pending messages of one partition.

    `owned`            records that slots need besides their own: chunks of large bodies.
    `unwritten`        the newest RETRY payload of slots for which it is not in the log yet.
    `reviving`         slots of messages that were dead, until their letters are gone.
    `uploading_bytes`  what chunk records take whose message does not exist yet.
    `uploads`          bodies that are still coming from their callers.
    `guest`            who keeps records of its own in the log.
    `ages`             how long they have waited, where `MAX_AGE` bounds that.
    `deadlines`        of those that have one of their own.
    `lines`            of those that have a key; `has_lines` says whether there are any.
    `awaited`          who waits for what becomes of a message, by its id.
    `lanes`            by their numbers; maybe fewer than there are.
    """

    __slots__ = (
        "ages",
        "awaited",
        "deadlines",
        "extents",
        "guest",
        "has_lines",
        "index",
        "lanes",
        "lines",
        "moved",
        "owned",
        "reviving",
        "timers",
        "unwritten",
        "uploading_bytes",
        "uploads",
    )

    def __init__(self, *, max_age_ms: int = 0) -> None:
        """`max_age_ms` 0: there is no bound."""
        self.index = Index()
        self.ages = Ages(max_age_ms * 1000) if max_age_ms else None
        self.deadlines = Deadlines()
        self.extents = Extents()
        self.guest: Guest = NoGuest()
        self.lines: Lines = NoLines()
        self.has_lines = False
        self.lanes: Sequence[Bound] = ()
        self.timers = Timers(self.index)
        self.moved = SlotMap(self.index)
        self.owned = Owned(self.index, self.extents)
        self.unwritten: dict[int, bytes] = {}
        self.reviving = 0
        self.uploading_bytes = 0
        self.awaited: dict[bytes, Waiter] = {}
        self.uploads: set[Movable] = set()

    def destination_of(self, slot: int) -> Destination | None:
        """Where the message of a slot goes, as its lane has it; None where that is not known."""
        number = self.index.lane[slot]
        return self.lanes[number].destination if number < len(self.lanes) else None

    @property
    def may_expire(self) -> bool:
        """Whether there is a bound to how long any message may wait."""
        return self.ages is not None or bool(self.deadlines.at)

    def expires_us(self, slot: int) -> int:
        """When the message of a slot is given up, by the queue's clock; `deadlines.NEVER`: not."""
        deadline_us = self.deadlines.of(slot)
        return deadline_us if self.ages is None else min(deadline_us, self.ages.expires_us(slot))

    @property
    def live_bytes(self) -> int:
        """What all of that needs of the log: messages, uploads and what the guest keeps."""
        return self.index.live_bytes + self.uploading_bytes + self.guest.live_bytes

    def add(self, position: int, incarnation: int, lane: int, size: int) -> int:
        """Enter a message of the lane with this number, whose record was just stored at `position`;
        returns its slot, READY, in no chain."""
        slot = self.index.add(position, incarnation, lane, size)
        self.extents.put(position, slot, size)
        return slot

    def add_all(
        self, positions: list[int], incarnation: int, lanes: list[int], sizes: list[int]
    ) -> list[int]:
        """Do what `add` does for many messages of one incarnation, in the order of their positions;
        returns their slots."""
        slots = self.index.add_all(positions, incarnation, lanes, sizes)
        self.extents.put_all(positions, slots, sizes)
        return slots

    def add_moved(
        self, id_position: int, incarnation: int, position: int, lane: int, size: int
    ) -> int:
        """Enter a message whose record under its old id is at `position`; returns its slot, READY,
        in no chain."""
        slot = self.add(position, incarnation, lane, size)
        self.index.id_position[slot] = id_position
        if position != id_position:  # of a log begun anew it may be, by chance
            self.moved.add(slot)
        return slot

    def find(self, id_position: int, incarnation: int) -> int:
        """The slot of the pending message with this id, or -1."""
        index = self.index
        slot = self.extents.find(id_position)
        if slot >= 0 and index.holds(slot, id_position, incarnation):
            return slot
        if not self.moved.count:
            return -1
        return self.moved.find(id_position, index.number_of(incarnation))

    def find_v1(self, id_position: int) -> int:
        """The slot of the message that a record of version 1 names by its position alone, or -1.
        It is of any incarnation: those logs held no two messages with the same position."""
        slot = self.extents.find(id_position)
        if slot >= 0 and self.index.id_position[slot] == id_position and self.index.state[slot]:
            return slot
        if self.moved.count:
            for number in range(len(self.index.incarnations)):
                if (slot := self.moved.find(id_position, number)) >= 0:
                    return slot
        return -1

    def move(self, slot: int, position: int, size: int) -> None:
        """The slot's record was copied, and is at `position` now with all its history."""
        index = self.index
        self.extents.release(index.position[slot], index.size[slot])
        self.extents.put(position, slot, size)
        index.live_bytes += size - index.size[slot]
        index.position[slot] = position
        index.size[slot] = size
        index.retry[slot] = 0
        if position != index.id_position[slot]:
            self.moved.add(slot)
        else:
            self.moved.discard(slot)

    def remove(self, slot: int) -> None:
        """Forget a message that is settled; its slot must be in no lane."""
        index = self.index
        if self.has_lines:
            self.lines.left(slot)
        scheduled = index.state[slot] == _SCHEDULED
        position = index.position[slot]
        self.extents.release(position, index.size[slot])
        if position != index.id_position[slot]:
            self.moved.discard(slot)
        if slot in self.owned.by_slot:
            self.owned.disown(slot)
            self.owned.forget_left(slot)
        if self.unwritten:
            self.unwritten.pop(slot, None)
        if self.ages is not None:
            self.ages.remove(slot)
        if self.deadlines.at:
            self.deadlines.remove(slot)
        if scheduled:
            self.timers.leave()
            index.leave(slot)
        elif self.timers.lifted and self.timers.leave_lifted(slot):
            index.leave(slot)
        else:
            index.remove(slot)

    def let_go(self, message_id: bytes) -> None:
        """A message is cancelled: who waits for what becomes of it need not wait any longer."""
        waiter = self.awaited.pop(message_id, None)
        if waiter is not None:
            waiter.undecided()

    def shrink(self) -> None:
        """Give memory back after a backlog."""
        if self.index.shrink():
            self.timers.clear()
            self.extents.forget_entries()
            self.lines.clear()
