"""Which number a member takes when it joins. Pure.

A node finds its number again by its name, so its links and what is told of it stay the same. A name
is one node's: whoever comes second, while the first is heard of, has to be refused, for each would
take the other's number away again and again.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.cluster.records import MOST_MEMBERS, MemberState
from dispatcher.cluster.sight import Seen, Sight
from dispatcher.cluster.times import Times
from dispatcher.errors import DispatcherError

_TWICE = 2
"""A record that changes once may have been on its way when its member died."""


class NodeTaken(DispatcherError):
    """Another node has this name, and is alive."""

    slug = "node_taken"
    exit_code = 4

    def __init__(self, node: str, address: str) -> None:
        super().__init__(
            f"another node is called {node} and is a member of the cluster, at {address}: give"
            " each node a NODE of its own"
        )


@dataclass(frozen=True, slots=True)
class Take:
    """A number to take, in place of the record of this revision."""

    number: int
    after: int


def number_for(node: str, sight: Sight, now_s: float, times: Times) -> Take | None:
    """Say which number a node takes; None: that is not known yet, so look again soon.

    Raises NodeTaken: a live one has this name.
    """
    for number, seen in sorted(sight.members.items()):
        if seen.record is not None and seen.record.node == node:
            return _again(number, seen, now_s, times)
    left = [number for number, seen in sight.members.items() if _has_left(seen)]
    if left:
        return Take(min(left), sight.members[min(left)].revision)
    if sight.first_free < MOST_MEMBERS:
        return Take(sight.first_free, 0)
    # All are taken: the longest silence first.
    number, seen = min(sight.members.items(), key=lambda one: (one[1].seen_s, one[0]))
    return Take(number, seen.revision) if now_s - seen.seen_s >= times.stays_s else None


def _again(number: int, seen: Seen, now_s: float, times: Times) -> Take | None:
    """Take the number that one of this name had, once it is certain that it is gone."""
    assert seen.record is not None
    if _has_left(seen) or now_s - seen.seen_s >= times.ttl_s:
        return Take(number, seen.revision)
    if seen.changes >= _TWICE and seen.record.state is not MemberState.LEAVING:
        raise NodeTaken(seen.record.node, seen.record.address)
    return None


def _has_left(seen: Seen) -> bool:
    return seen.record is not None and seen.record.state is MemberState.LEFT
