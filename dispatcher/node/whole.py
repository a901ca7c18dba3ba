"""What the partitions of a process are together, for those who look: numbers added up, and each
destination once, whichever of them have messages for it. With one partition it is that one's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dispatcher.core.destination import Destination
from dispatcher.core.histogram import Histogram
from dispatcher.node.counted import COUNTED, OBSERVED, Count, Left, Observed
from dispatcher.queue.admin.oldest import Oldest
from dispatcher.queue.admin.pace import Pace as Turns
from dispatcher.queue.commit.stalls import Pace
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.queue.lanes.peers import Peer, Peers
from dispatcher.queue.partition import Partition


class AnyLane(Protocol):
    """What waits for one destination, as `lanes.Lane` says it."""

    @property
    def peer(self) -> Peer:
        """What is known of the destination."""

    @property
    def destination(self) -> Destination:
        """Where its messages go."""

    @property
    def ready(self) -> int:
        """Messages that wait for their turn."""

    @property
    def scheduled(self) -> int:
        """Messages that wait for a time."""

    @property
    def behind(self) -> int:
        """Messages that wait for others with their key."""

    @property
    def shown_ready(self) -> int:
        """Messages that are `ready`, as it is called outside."""

    @property
    def shown_scheduled(self) -> int:
        """Messages that are `scheduled`, as it is called outside."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The lanes of several partitions for one destination (`AnyLane`)."""

    lanes: Sequence[Lane]

    @property
    def peer(self) -> Peer:
        """See `AnyLane`."""
        return self.lanes[0].peer

    @property
    def destination(self) -> Destination:
        """See `AnyLane`."""
        return self.lanes[0].peer.destination

    @property
    def ready(self) -> int:
        """See `AnyLane`."""
        return sum(lane.ready for lane in self.lanes)

    @property
    def scheduled(self) -> int:
        """See `AnyLane`."""
        return sum(lane.scheduled for lane in self.lanes)

    @property
    def behind(self) -> int:
        """See `AnyLane`."""
        return sum(lane.behind for lane in self.lanes)

    @property
    def shown_ready(self) -> int:
        """See `AnyLane`."""
        return sum(lane.shown_ready for lane in self.lanes)

    @property
    def shown_scheduled(self) -> int:
        """See `AnyLane`."""
        return sum(lane.shown_scheduled for lane in self.lanes)


class Destinations:
    """The destinations that any of the partitions has a lane for."""

    def __init__(self, parts: Sequence[Partition], peers: Peers) -> None:
        self._parts = parts
        self._peers = peers

    def __len__(self) -> int:
        return len(self._peers)

    def in_parts(self, most: int) -> Iterator[Sequence[AnyLane]]:
        """See `Lanes.in_parts`."""
        parts = list(self._parts)  # one that comes or goes meanwhile changes nothing
        if len(parts) == 1:
            yield from parts[0].lanes.in_parts(most)
            return
        for number, part in enumerate(parts):
            for some in part.lanes.in_parts(most):
                yield [_whole(parts, lane) for lane in some if _is_first(parts[:number], lane)]

    def find(self, key: bytes) -> AnyLane | None:
        """See `Lanes.find`."""
        found = _lanes(self._parts, key)
        return _whole(self._parts, found[0]) if found else None


def _is_first(before: Sequence[Partition], lane: Lane) -> bool:
    """Whether no partition before that of a lane has one for the same destination."""
    return lane.peer.lanes == 1 or not _lanes(before, lane.destination.key)


def _whole(parts: Sequence[Partition], lane: Lane) -> AnyLane:
    if lane.peer.lanes == 1:
        return lane
    return Joined(_lanes(parts, lane.destination.key) or [lane])


def _lanes(parts: Sequence[Partition], key: bytes) -> list[Lane]:
    return [lane for part in parts if (lane := part.lanes.find(key)) is not None]


STATES: Final = ("ready", "scheduled", "in_flight")


class Whole:
    """The partitions that a process has now, in the order of their numbers: none, one or several,
    which come and go. `traffic` and `pace` are the process's.

    What they have counted (`counted`, `histogram`, `attempts`) never falls: what left counts on.
    """

    def __init__(self, traffic: Traffic, *parts: Partition) -> None:
        self.parts: list[Partition] = []
        self.traffic = traffic
        self.clock = traffic.clock
        self.destinations = Destinations(self.parts, traffic.peers)
        # Whatever messages and calls do is written: that of operators too, and they have time.
        self.pace = Turns(traffic=self._batches, now_us=self.clock.now_us)
        self._left = Left()
        for part in parts:
            self.add(part)

    def __repr__(self) -> str:
        return f"<Whole of {[part.config.partition for part in self.parts]}>"

    def add(self, part: Partition) -> None:
        """One is here from now on."""
        self.parts.append(part)
        self.parts.sort(key=lambda one: one.config.partition)

    def remove(self, part: Partition) -> None:
        """One is not here any more, and counts nothing more. Idempotent."""
        if part not in self.parts:
            return
        self.parts.remove(part)
        self._left.add(part)

    def find(self, number: int) -> Partition | None:
        """The one with this number, if it is here."""
        return next((one for one in self.parts if one.config.partition == number), None)

    def total(self, read: Callable[[Partition], int]) -> int:
        """What they have together of something that there is now."""
        return sum(map(read, self.parts))

    def most(self, read: Callable[[Partition], float]) -> float:
        """What the one has that has most; 0 without any."""
        return max(map(read, self.parts), default=0)

    def counted(self, count: Count) -> int:
        """How often they did something since the start of the process."""
        return self._left.counts[count] + self.total(COUNTED[count])

    def histogram(self, observed: Observed) -> Histogram:
        """What they have observed together since then."""
        found = list(map(OBSERVED[observed], self.parts))
        if not found or self._left.has_any:
            found.append(self._left.observed[observed])
        return added(found)

    def attempts(self) -> dict[str, int]:
        """Attempts by what they came to."""
        found = self._left.attempts.copy()
        for part in self.parts:
            found.update(part.figures.attempts)
        return dict(found)

    def _batches(self) -> int:
        return self.counted(Count.BATCHES)

    def count_states(self) -> dict[str, int]:
        """See `Figures.count_states`."""
        counts = [part.figures.count_states() for part in self.parts]
        return {state: sum(one[state] for one in counts) for state in STATES}

    @property
    def dead(self) -> int:
        """Dead letters."""
        return self.total(lambda part: len(part.dead_letters))

    @property
    def pending(self) -> int:
        """Messages that are neither delivered nor dead."""
        return self.total(lambda part: part.pending.index.count)

    @property
    def live_bytes(self) -> int:
        """Bytes of the transaction logs that pending messages and calls need."""
        return self.total(lambda part: part.pending.live_bytes)

    @property
    def log_bytes(self) -> int:
        """Bytes that the transaction logs take."""
        return self.total(lambda part: part.log.size_bytes)

    @property
    def paces(self) -> list[Pace]:
        """How the disks of all logs answer."""
        return [pace for part in self.parts for pace in (part.stalls.pace, part.dead_stalls.pace)]

    @property
    def oldest(self) -> Oldest | None:
        """That of the partition with the oldest message that waits; None: in none does one."""
        waiting = [part.oldest for part in self.parts if part.oldest.accepted_at is not None]
        return min(waiting, key=_accepted_at, default=None)


def added(several: Sequence[Histogram]) -> Histogram:
    """What several with the same bounds, one at least, have counted together: of one, that one
    itself."""
    if len(several) == 1:
        return several[0]
    found = Histogram(several[0].bounds)
    for one in several:
        found.add(one)
    return found


def _accepted_at(oldest: Oldest) -> int:
    return oldest.accepted_at or 0
