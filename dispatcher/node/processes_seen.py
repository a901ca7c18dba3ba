"""Who does the work of a server that is no cluster, for `/v1/cluster`: its processes, and the
partitions that each of them has."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence

from dispatcher.api.cluster import (
    ClusterView,
    MemberState,
    MemberView,
    PartitionState,
    PartitionView,
)
from dispatcher.node.assignment import Assignment
from dispatcher.node.others import Others
from dispatcher.node.since import Since
from dispatcher.node.standing import Standing, standings_of
from dispatcher.node.whole import Whole

Standings = Mapping[int, Sequence[Standing] | None]
"""What each process says of its partitions; None: it is away, or does not answer."""


class ProcessesSeen:
    """Implements `api.cluster.Cluster` for one server. Made when its process starts."""

    def __init__(
        self,
        whole: Whole,
        assignment: Assignment,
        *,
        others: Others | None,
        now_us: Callable[[], int],
    ) -> None:
        """`others` are the other processes of the server; `now_us` is the wall clock."""
        self._whole = whole
        self._assignment = assignment
        self._others = others
        self._since = Since(now_us)
        self._numbers = {*assignment.partitions, *assignment.every, *range(assignment.spread)}
        self._members(self._away())
        if others is not None:
            others.on_change(lambda: self._members(self._away()))

    async def view(self) -> ClusterView:
        """See `Cluster`."""
        others = {} if self._others is None else await self._others.standings()
        told: Standings = {**others, self._assignment.number: standings_of(self._whole)}
        members = self._members(told)
        return ClusterView(False, members, self._partitions(told, members))

    def _away(self) -> Standings:
        """As far as is known without asking: who is not connected says nothing."""
        away = frozenset() if self._others is None else self._others.away
        return {one: None if one in away else () for one in range(self._assignment.processes)}

    def _members(self, told: Standings) -> list[MemberView]:
        node = socket.gethostname()
        found: list[MemberView] = []
        for number in range(self._assignment.processes):
            state = MemberState.AWAY if told.get(number) is None else MemberState.LIVE
            since_us = self._since.of(number, state)
            has_api = number == self._assignment.number
            found.append(MemberView(number, node, None, state, since_us, has_api))
        return found

    def _partitions(self, told: Standings, members: Sequence[MemberView]) -> list[PartitionView]:
        """A process has those with its number as remainder (`peers.directory.ByRemainder`)."""
        standing = {one.number: one for each in told.values() for one in each or ()}
        found: list[PartitionView] = []
        for number in sorted(self._numbers | standing.keys()):
            owner = members[number % len(members)]
            one = standing.get(number)
            if one is None:
                is_away = owner.state is MemberState.AWAY
                state = PartitionState.AWAY if is_away else PartitionState.OPENING
                found.append(PartitionView(number, owner.number, state, owner.since_us))
                continue
            found.append(
                PartitionView(
                    number,
                    owner.number,
                    PartitionState.OPEN,
                    owner.since_us,
                    position=one.position,
                    late_ms=one.late_ms,
                )
            )
        return found
