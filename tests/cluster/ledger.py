"""What was sent to a cluster, what came of it, and whether that is what was promised.

Every message has a target of its own, and its body follows from it. Times are seconds of the
monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.crash.load import body_of

PARTITION_DIGITS = 4
"""The id of a message begins with its partition."""


@dataclass(slots=True)
class Sent:
    """A message. `may_come_s` is when it may be delivered at the earliest, once it was accepted;
    without an id and a refusal nobody was told what became of it."""

    target: str
    size_bytes: int
    delay_s: float
    is_keyed: bool
    id: str = ""
    refusal: str = ""
    may_come_s: float = 0.0
    accepted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that came whole to a destination, from this node."""

    target: str
    id: str
    node: str
    at_s: float
    is_intact: bool

    @property
    def partition(self) -> int:
        """Whose it is."""
        return int(self.id[:PARTITION_DIGITS], 16)


@dataclass(frozen=True, slots=True)
class Tenure:
    """A node has opened a partition."""

    partition: int
    node: str
    epoch: int
    opened_s: float


@dataclass(slots=True)
class Ledger:
    """Everything of one test."""

    sent: dict[str, Sent] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    accepted: int = 0

    def begin(self, size_bytes: int, *, delay_s: float = 0.0, is_keyed: bool = False) -> Sent:
        """A new message."""
        one = Sent(f"/{len(self.sent):06d}", size_bytes, delay_s, is_keyed)
        self.sent[one.target] = one
        return one

    def accept(self, one: Sent, message_id: str, now_s: float) -> None:
        """It was answered 202."""
        one.id, one.refusal = message_id, ""
        one.accepted_s, one.may_come_s = now_s, now_s + one.delay_s
        self.accepted += 1

    def arrive(self, target: str, message_id: str, node: str, at_s: float, body: bytes) -> None:
        """It came to a destination."""
        one = self.sent.get(target)
        is_intact = one is not None and body == body_of(target, one.size_bytes)
        self.arrivals.append(Arrival(target, message_id, node, at_s, is_intact))

    # What is found in it

    def missing(self) -> set[str]:
        """Targets that were answered 202 and did not come."""
        came = {one.target for one in self.arrivals}
        return {one.target for one in self.sent.values() if one.id and one.target not in came}

    def refused_that_came(self) -> set[str]:
        """Targets that were told 503, which says that they are never delivered."""
        came = {one.target for one in self.arrivals}
        return {one.target for one in self.sent.values() if one.refusal and one.target in came}

    def wrong(self) -> list[str]:
        """Arrivals that cannot be: other bytes, or another id than its caller was told or than it
        came under before."""
        ids: dict[str, str] = {}
        found = []
        for one in self.arrivals:
            sent = self.sent.get(one.target)
            if sent is None or not one.is_intact:
                found.append(f"{one.target} is not what was sent")
            elif ids.setdefault(one.target, sent.id or one.id) != one.id:
                found.append(f"{one.target} came as {one.id}, and is {ids[one.target]}")
        return found

    def refusals(self) -> Counter[str]:
        """The slugs that callers were told."""
        return Counter(one.refusal for one in self.sent.values() if one.refusal)

    def duplicates(self) -> int:
        """How often a message came again."""
        return len(self.arrivals) - len({one.target for one in self.arrivals})

    def longest_wait_s(self, since_s: float = 0.0) -> float:
        """The longest time that a message could have been delivered and was not, of those that
        came at `since_s` or later. So long a partition stood still, if it always had messages."""
        waits = [0.0]
        seen: set[str] = set()
        for one in self.arrivals:
            sent = self.sent.get(one.target)
            if one.target in seen or sent is None or not sent.id:
                continue
            seen.add(one.target)
            if one.at_s >= since_s:
                waits.append(one.at_s - max(sent.may_come_s, since_s))
        return max(waits)

    def longest_refusal_s(self, since_s: float, until_s: float) -> float:
        """The longest time in which no message was accepted, by any node."""
        times = sorted(
            one.accepted_s for one in self.sent.values() if since_s <= one.accepted_s <= until_s
        )
        return max(
            (b - a for a, b in zip([since_s, *times], [*times, until_s], strict=True)), default=0.0
        )

    def stale(self, tenures: Iterable[Tenure]) -> list[Arrival]:
        """What an owner of a partition delivered after the first delivery of the next one. A node
        that has opened a partition is its owner from then on; an arrival is of the last time that
        its node has opened it."""
        opened: dict[tuple[int, str], list[Tenure]] = {}
        for tenure in sorted(tenures, key=lambda one: one.opened_s):
            opened.setdefault((tenure.partition, tenure.node), []).append(tenure)
        found = []
        for partition, arrivals in _by_partition(self.arrivals).items():
            latest = 0
            for one in arrivals:
                mine = opened.get((partition, one.node), [])
                epoch = max((each.epoch for each in mine if each.opened_s <= one.at_s), default=0)
                if epoch < latest:
                    found.append(one)
                latest = max(latest, epoch)
        return found

    def owners(self, since_s: float = 0.0) -> Counter[str]:
        """How many partitions each node has delivered of last, at `since_s` or later."""
        return Counter(
            arrivals[-1].node
            for arrivals in _by_partition(self.arrivals).values()
            if arrivals[-1].at_s >= since_s
        )

    def partitions(self, node: str) -> frozenset[int]:
        """Those that this node has delivered of last."""
        by = _by_partition(self.arrivals)
        return frozenset(one for one, arrivals in by.items() if arrivals[-1].node == node)

    def shown(self) -> str:
        """What it comes to, in a line."""
        refused = ", ".join(f"{slug} {count}" for slug, count in self.refusals().items())
        unknown = sum(not one.id and not one.refusal for one in self.sent.values())
        return (
            f"{self.accepted} accepted, {self.duplicates()} came again, {unknown} unanswered,"
            f" refused: {refused or 'none'}"
        )

    def check(self, tenures: Iterable[Tenure] = (), *, most_duplicates: int = 50) -> None:
        """Fail unless this is what was promised."""
        wrong = self.wrong()
        assert not wrong, f"{len(wrong)} are wrong: {wrong[:5]}"
        missing = sorted(self.missing())
        assert not missing, f"{len(missing)} accepted and never delivered, such as {missing[:5]}"
        assert not self.refused_that_came(), "delivered, and refused"
        stale = self.stale(tenures)
        assert not stale, f"{len(stale)} delivered by an owner that was no more, such as {stale[0]}"
        assert self.duplicates() < most_duplicates


def _by_partition(arrivals: Iterable[Arrival]) -> dict[int, Sequence[Arrival]]:
    found: dict[int, list[Arrival]] = {}
    for one in arrivals:
        found.setdefault(one.partition, []).append(one)
    return {number: sorted(each, key=lambda one: one.at_s) for number, each in found.items()}
