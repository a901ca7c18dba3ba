"""What the partitions of a process are together, for those who look: numbers added up, and each
destination once, whichever of them have messages for it. With one partition it is that one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from dispatcher.core.destination import Destination
from dispatcher.core.histogram import Histogram
from dispatcher.queue.admin.oldest import Oldest
from dispatcher.queue.commit.stalls import Pace
from dispatcher.queue.lanes.lanes import Lane, Lanes
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
    """Those that any of the partitions has a lane for."""

    def __init__(self, parts: Sequence[Lanes], peers: Peers) -> None:
        self._parts = parts
        self._peers = peers

    def __len__(self) -> int:
        return len(self._peers)

    def in_parts(self, most: int) -> Iterator[Sequence[AnyLane]]:
        """See `Lanes.in_parts`."""
        if len(self._parts) == 1:
            yield from self._parts[0].in_parts(most)
            return
        for number, lanes in enumerate(self._parts):
            for some in lanes.in_parts(most):
                yield [self._whole(lane) for lane in some if self._is_first(number, lane)]

    def find(self, key: bytes) -> AnyLane | None:
        """See `Lanes.find`."""
        found = [lane for lanes in self._parts if (lane := lanes.find(key)) is not None]
        return self._whole(found[0]) if found else None

    def _is_first(self, number: int, lane: Lane) -> bool:
        """Whether no partition before this one has a lane for the same destination."""
        if lane.peer.lanes == 1:
            return True
        key = lane.destination.key
        return all(lanes.find(key) is None for lanes in islice(self._parts, number))

    def _whole(self, lane: Lane) -> AnyLane:
        if lane.peer.lanes == 1:
            return lane
        key = lane.destination.key
        return Joined([one for lanes in self._parts if (one := lanes.find(key)) is not None])


STATES: Final = ("ready", "scheduled", "in_flight")


class Whole:
    """The partitions that a process has, at least one. `traffic` and `clock` are the process's."""

    def __init__(self, parts: Sequence[Partition]) -> None:
        self.parts = parts
        self.traffic = parts[0].traffic
        self.clock = parts[0].clock
        self.pace = parts[0].admin.pace
        self.destinations = Destinations([part.lanes for part in parts], self.traffic.peers)

    def total(self, read: Callable[[Partition], int]) -> int:
        """What they have together of something that is counted."""
        return sum(map(read, self.parts))

    def most(self, read: Callable[[Partition], float]) -> float:
        """What the one has that has most."""
        return max(map(read, self.parts))

    def histogram(self, read: Callable[[Partition], Histogram]) -> Histogram:
        """What they have observed together."""
        return added(list(map(read, self.parts)))

    def attempts(self) -> dict[str, int]:
        """Attempts by what they came to."""
        found: dict[str, int] = {}
        for part in self.parts:
            for outcome, count in part.figures.attempts.items():
                found[outcome] = found.get(outcome, 0) + count
        return found

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
    def oldest(self) -> Oldest:
        """That of the partition with the oldest message that waits."""
        waiting = [part.oldest for part in self.parts if part.oldest.accepted_at is not None]
        return min(waiting, key=_accepted_at, default=self.parts[0].oldest)


def added(several: Sequence[Histogram]) -> Histogram:
    """What several with the same bounds have counted together: of one, that one itself."""
    if len(several) == 1:
        return several[0]
    found = Histogram(several[0].bounds)
    for one in several:
        found.add(one)
    return found


def _accepted_at(oldest: Oldest) -> int:
    return oldest.accepted_at or 0
