"""Lanes: what waits for one destination in one partition.

A lane is a FIFO of ready slots, chained through the index. Its first `warm` messages are in memory
(`Warm`), the rest is read back when its turn comes near. What may be sent is its destination's to
say (`lanes.peers`), and when its turn is `lanes.turns`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from dispatcher.core.destination import Destination, Origin
from dispatcher.queue.lanes.gates import opens_at
from dispatcher.queue.lanes.peers import Peer, Peers
from dispatcher.queue.pending.index import NO_SLOT, Index

NOWHERE, GOOD, CROWDED, UNTRIED, FAILING, HANGING = range(6)
"""Where a lane waits for its turn (`Lane.place`), see `lanes.turns`."""
NOTHING: Final = 0
WORKER: Final = 1
RISK: Final = 2
SLOW: Final = 3
"""What an attempt, or the reading that comes before it, takes up, see `lanes.turns`."""


READ_MOST = 128
"""Messages of a lane that are read back at once, at most."""
_READ_FIRST = 8


class Home(Protocol):
    """The partition that a lane is of."""

    def take_turn(self, lane: Lane, kind: int) -> bool:
        """The lane has its turn: start an attempt of it that takes up `kind`, or read its next
        message back. False: the partition starts no attempts now, and the lane has to wait."""

    def chill(self, lane: Lane) -> None:
        """Memory is short: drop the messages that are kept for the lane."""

    def lane_of(self, peer: Peer) -> Lane | None:
        """The partition's lane for a destination."""

    def rules_changed(self) -> None:
        """Other rules are in force."""


class Lane:
    """What waits in one partition for one destination.

    `ready` slots wait in it, the first `warm` of them with their message in memory; `first_cold` is
    the slot after those. `scheduled` counts messages that wait for a time, `behind` those that wait
    for others with their key, `later` those of the latter that are not due yet either, `away` those
    on their way to or from the dead-letter log.
    `appetite` is how many of them are read back at once at most. It grows with a read while there
    is room, and is halved when what was read has to give way before it was used: of many lanes that
    take turns each keeps what fits, and little is read again and again.

    `place` says where it waits for a turn; `loading` that messages of it are being read back, and
    `reserved` what is kept for the attempt that follows that.

    For those who look: `head_at` is when the message with the id `head_id` was accepted, which was
    the first one when somebody looked last; `tried_at`, `tried_id` and `tried_slot` are of the
    oldest message that is known to be tried again.
    """

    __slots__ = (
        "appetite",
        "away",
        "behind",
        "first_cold",
        "head",
        "head_at",
        "head_id",
        "home",
        "later",
        "loading",
        "number",
        "peer",
        "place",
        "ready",
        "reserved",
        "scheduled",
        "tail",
        "tried_at",
        "tried_id",
        "tried_slot",
        "warm",
    )

    def __init__(self, number: int, peer: Peer, home: Home) -> None:
        self.number = number
        self.peer = peer
        self.home = home
        self.head = NO_SLOT
        self.tail = NO_SLOT
        self.first_cold = NO_SLOT
        self.ready = 0
        self.warm = 0
        self.scheduled = 0
        self.behind = 0
        self.later = 0
        self.away = 0
        self.place = NOWHERE
        self.reserved = NOTHING
        self.appetite = min(_READ_FIRST, READ_MOST)
        self.loading = False
        self.head_id = self.head_at = 0
        self.tried_slot = NO_SLOT
        self.tried_id = self.tried_at = 0

    def __repr__(self) -> str:
        return (
            f"<Lane {self.peer.destination} ready={self.ready} warm={self.warm} "
            f"scheduled={self.scheduled} behind={self.behind}>"
        )

    def reads_more(self) -> None:
        """It is read, what was read before was used, and there is room."""
        self.appetite = min(self.appetite + self.appetite // 8 + 1, READ_MOST)

    def reads_less(self) -> None:
        """What was read has to give way."""
        self.appetite = max(1, self.appetite // 2)

    def push(self, index: Index, slot: int, *, warm: bool) -> None:
        """Put a slot at the end. `warm` only when every slot before it is warm."""
        links = index.next
        links[slot] = NO_SLOT
        if self.tail == NO_SLOT:
            self.head = slot
        else:
            links[self.tail] = slot
        index.due_at[slot] = self.tail  # the link back; nothing is due of what is ready
        self.tail = slot
        self.ready += 1
        if warm:
            self.warm += 1
        elif self.first_cold == NO_SLOT:
            self.first_cold = slot

    def push_all(self, index: Index, slots: list[int]) -> None:
        """Put slots at the end, as they follow each other; their messages are not in memory."""
        links, links_back = index.next, index.due_at
        before = self.tail
        for slot in slots:
            if before == NO_SLOT:
                self.head = slot
            else:
                links[before] = slot
            links_back[slot] = before
            before = slot
        links[before] = NO_SLOT
        self.tail = before
        self.ready += len(slots)
        if self.first_cold == NO_SLOT:
            self.first_cold = slots[0]

    def pop(self, index: Index) -> int:
        """Take the first slot, which must be warm."""
        slot = self.head
        self.head = index.next[slot]
        if self.head == NO_SLOT:
            self.tail = NO_SLOT
        self.ready -= 1
        self.warm -= 1
        return slot

    def cold_slots(self, index: Index, most: int) -> list[int]:
        """The next slots that are to be read back, at most `most`."""
        slots: list[int] = []
        slot = self.first_cold
        while slot != NO_SLOT and len(slots) < most:
            slots.append(slot)
            slot = index.next[slot]
        return slots

    def warmed(self, index: Index, slots: list[int]) -> None:
        """These slots, as `cold_slots` gave them, are in memory now."""
        self.warm += len(slots)
        self.first_cold = index.next[slots[-1]]

    def take_out(self, index: Index, slot: int, *, warm: bool) -> None:
        """Take a slot out wherever it is; `warm` says whether its message is in memory."""
        following = index.next[slot]
        before = NO_SLOT if slot == self.head else index.due_at[slot]
        if before == NO_SLOT:
            self.head = following
        else:
            index.next[before] = following
        if following == NO_SLOT:
            self.tail = before
        else:
            index.due_at[following] = before
        if self.first_cold == slot:
            self.first_cold = following
        self.ready -= 1
        self.warm -= warm

    def tries_again(self, index: Index, slot: int, accepted_at: int) -> None:
        """A message of it is to be tried again: one that was accepted at this instant."""
        if accepted_at < self.tried_at or not self.has_tried(index):
            self.tried_slot = slot
            self.tried_id = index.id_position[slot]
            self.tried_at = accepted_at

    def has_tried(self, index: Index) -> bool:
        """Whether the message still waits in this lane that `tried_at` is of."""
        slot = self.tried_slot
        return (
            slot < index.slots
            and index.state[slot] != 0
            and index.lane[slot] == self.number
            and index.id_position[slot] == self.tried_id
        )

    def chill(self, index: Index) -> list[int]:
        """Forget that slots are warm; returns those that were, in order."""
        slots: list[int] = []
        slot = self.head
        for _ in range(self.warm):
            slots.append(slot)
            slot = index.next[slot]
        self.warm = 0
        self.first_cold = self.head
        return slots

    @property
    def shown_ready(self) -> int:
        """Messages that are `ready`, as it is called outside."""
        return self.ready + self.behind - self.later

    @property
    def shown_scheduled(self) -> int:
        """Messages that are `scheduled`, as it is called outside."""
        return self.scheduled + self.later

    @property
    def destination(self) -> Destination:
        """Where its messages go."""
        return self.peer.destination

    @property
    def idle(self) -> bool:
        """No message is counted in it, nothing is under way to its destination, and nobody holds
        that."""
        peer = self.peer
        waiting = self.ready or self.scheduled or self.behind or self.away
        return not (waiting or peer.in_flight or peer.held)


class Lanes:
    """All lanes of one partition, by destination and by number.

    A lane is made when the first message for its destination comes, and forgotten by `forget`.
    """

    __slots__ = ("_by_key", "_free", "_home", "_peers", "by_number")

    def __init__(self, peers: Peers, home: Callable[[], Home]) -> None:
        self.by_number: list[Lane] = []
        self._by_key: dict[bytes, Lane] = {}
        self._free: list[int] = []
        self._peers = peers
        self._home = home

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._by_key.values())

    def in_parts(self, most: int) -> Iterator[list[Lane]]:
        """All of them, at most so many at once. Lanes may come and go between two parts; one that
        went and came again may be in two of them.

        In place of one list of all: of a hundred thousand that takes milliseconds to make, and
        every collection of garbage, also one of the young, goes through it while it is there.
        """
        for start in range(0, len(self.by_number), most):
            yield [
                lane
                for lane in self.by_number[start : start + most]
                if self._by_key.get(lane.destination.key) is lane
            ]

    def of(self, destination: Destination) -> Lane:
        """The lane of a destination, made when there is none."""
        return self._by_key.get(destination.key) or self._make(destination)

    def by_key(self, key: bytes) -> Lane:
        """The lane of `scheme://host[:port]`, as records hold it."""
        return self._by_key.get(key) or self._make(Origin.parse(key).destination)

    def find(self, key: bytes) -> Lane | None:
        """The lane of `scheme://host[:port]`; None when there is none."""
        return self._by_key.get(key)

    def _make(self, destination: Destination) -> Lane:
        number = self._free.pop() if self._free else len(self.by_number)
        lane = Lane(number, self._peers.join(destination), self._home())
        if number == len(self.by_number):
            self.by_number.append(lane)
        else:
            self.by_number[number] = lane
        self._by_key[destination.key] = lane
        return lane

    def leave(self) -> None:
        """The partition ends: what was learned goes with a destination's last lane. Idempotent."""
        for lane in self._by_key.values():
            self._peers.leave(lane.peer)
        self._by_key.clear()

    def forget(self, lanes: list[Lane], now_us: int) -> None:
        """Drop those of these lanes with nothing in them whose destination is not left alone
        either. What was learned goes with a destination's last lane."""
        for lane in lanes:
            if not lane.idle:  # of many lanes most have messages: gates are asked of the others
                continue
            peer = lane.peer
            is_used = lane.place or lane.loading or peer.alarm or opens_at(peer, now_us)
            is_used = is_used or peer.owes(now_us)
            if not is_used and self._by_key.get(peer.destination.key) is lane:
                del self._by_key[peer.destination.key]
                self._peers.leave(peer)
                self._free.append(lane.number)
