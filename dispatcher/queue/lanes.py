"""Lanes: the queue of one destination each, and the fair turns between them.

A lane is a FIFO of ready slots, chained through the index. Its first `warm` messages are in memory
(`Warm`), the rest is read back when its turn comes near. How many attempts a lane may have in
flight is its `limit`; whether it may send at all is its `breaker`'s and its pause's to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from dispatcher.core.breaker import Breaker, State
from dispatcher.core.destination import Destination, Origin
from dispatcher.core.limit import Limit
from dispatcher.queue.index import NO_SLOT, Index


class Lane:
    """The queue of one destination.

    `ready` slots wait in it, the first `warm` of them with their message in memory; `first_cold` is
    the slot after those. `scheduled` counts messages that wait for a retry. `paused_until` is in
    microseconds since the epoch. `calm` says that the breaker is closed with no failure counted,
    and there is no pause: the hot path asks nothing else. `queued` says that the lane waits for a
    turn; `loading` that messages of it are being read back. `alarm` is when it is looked at again
    after a pause (0: never), `probed_at` when the breaker's last probe started.
    """

    __slots__ = (
        "alarm",
        "breaker",
        "calm",
        "destination",
        "first_cold",
        "head",
        "held",
        "in_flight",
        "limit",
        "loading",
        "number",
        "paused_until",
        "probed_at",
        "queued",
        "ready",
        "scheduled",
        "tail",
        "warm",
    )

    def __init__(
        self, number: int, destination: Destination, limit: Limit, breaker: Breaker
    ) -> None:
        self.number = number
        self.destination = destination
        self.limit = limit
        self.breaker = breaker
        self.head = NO_SLOT
        self.tail = NO_SLOT
        self.first_cold = NO_SLOT
        self.ready = 0
        self.warm = 0
        self.scheduled = 0
        self.in_flight = 0
        self.paused_until = 0
        self.alarm = 0
        self.probed_at = 0
        self.calm = True
        self.queued = False
        self.loading = False
        self.held = False

    def push(self, index: Index, slot: int, *, warm: bool) -> None:
        """Put a slot at the end. `warm` only when every slot before it is warm."""
        links = index.next
        links[slot] = NO_SLOT
        if self.tail == NO_SLOT:
            self.head = slot
        else:
            links[self.tail] = slot
        self.tail = slot
        self.ready += 1
        if warm:
            self.warm += 1
        elif self.first_cold == NO_SLOT:
            self.first_cold = slot

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

    def unlink(self, index: Index, slot: int) -> bool:
        """Take a slot out wherever it is; returns whether it was warm. Looks through the lane."""
        links = index.next
        before, found, place = NO_SLOT, self.head, 0
        while found != slot:
            before, found, place = found, links[found], place + 1
        if before == NO_SLOT:
            self.head = links[slot]
        else:
            links[before] = links[slot]
        if self.tail == slot:
            self.tail = before
        if self.first_cold == slot:
            self.first_cold = links[slot]
        self.ready -= 1
        warm = place < self.warm
        self.warm -= warm
        return warm

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

    def wakes_at(self) -> int:
        """Microseconds since the epoch before which nothing may be sent; 0 or past: now."""
        breaker = self.breaker
        opens = breaker.open_until_us if breaker.state is State.OPEN else 0
        return max(opens, self.paused_until)

    def admits(self, now_us: int) -> bool:
        """Whether neither the breaker nor a pause forbids an attempt now. Not asked while
        `calm`."""
        return not self.held and self.paused_until <= now_us and self.breaker.admits(now_us)

    def start(self, now_us: int) -> None:
        """Note that an attempt starts. Not needed while `calm`."""
        if self.breaker.state is State.OPEN:
            self.probed_at = now_us
        self.breaker.start(now_us)

    @property
    def idle(self) -> bool:
        """Nothing waits in it, nothing is under way, and nobody paused it."""
        return not (self.ready or self.scheduled or self.in_flight or self.held)


class Lanes:
    """All lanes, by destination and by number, and the ring of those that wait for a turn.

    A lane is made when the first message for its destination comes, and forgotten by `forget_idle`.
    """

    __slots__ = ("_by_key", "_free", "_limit_max", "_pause_max_ms", "by_number", "ring")

    def __init__(self, *, limit_max: int, pause_max_ms: int) -> None:
        self.by_number: list[Lane] = []
        self.ring: deque[Lane] = deque()
        self._by_key: dict[bytes, Lane] = {}
        self._free: list[int] = []
        self._limit_max = limit_max
        self._pause_max_ms = pause_max_ms

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._by_key.values())

    def of(self, destination: Destination) -> Lane:
        """The lane of a destination, made when there is none."""
        return self._by_key.get(destination.key) or self._make(destination)

    def by_key(self, key: bytes) -> Lane:
        """The lane of `scheme://host[:port]`, as records hold it."""
        return self._by_key.get(key) or self._make(Origin.parse(key).destination)

    def _make(self, destination: Destination) -> Lane:
        number = self._free.pop() if self._free else len(self.by_number)
        lane = Lane(number, destination, Limit(self._limit_max), Breaker(self._pause_max_ms))
        if number == len(self.by_number):
            self.by_number.append(lane)
        else:
            self.by_number[number] = lane
        self._by_key[destination.key] = lane
        return lane

    def enter(self, lane: Lane) -> None:
        """Let a lane wait for a turn, if it has something to send and may have more in flight."""
        if lane.queued or not lane.ready or lane.in_flight >= lane.limit.value:
            return
        if lane.warm or not lane.loading:
            lane.queued = True
            self.ring.append(lane)

    def forget_idle(self, now_us: int) -> None:
        """Drop the lanes with nothing in them that are not paused either; what they learned goes
        too. A number that an alarm still refers to is not used again."""
        for lane in [lane for lane in self if lane.idle and not lane.queued]:
            if lane.wakes_at() <= now_us and not lane.alarm:
                del self._by_key[lane.destination.key]
                self._free.append(lane.number)
