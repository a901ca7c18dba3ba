"""Who does the work of a cluster, for `/v1/cluster`: its nodes, and the partitions that each has,
as the node with partition 0 knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from dispatcher.api.cluster import (
    ClusterView,
    MemberState,
    MemberView,
    PartitionState,
    PartitionView,
)
from dispatcher.cluster.directory import Directory, MemberFacts, PartitionFacts
from dispatcher.cluster.records import MemberState as Said
from dispatcher.cluster.records import Phase
from dispatcher.node.since import Since
from dispatcher.node.standing import Standing, standings_of
from dispatcher.node.whole import Whole

_STATES: Final = MappingProxyType(
    {
        Said.JOINING: MemberState.JOINING,
        Said.LIVE: MemberState.LIVE,
        Said.LEAVING: MemberState.LEAVING,
        Said.LEFT: MemberState.LEFT,
    }
)
_PHASES: Final = MappingProxyType(
    {
        Phase.OPENING: PartitionState.OPENING,
        Phase.OPEN: PartitionState.OPEN,
        Phase.LEAVING: PartitionState.LEAVING,
        Phase.FAILED: PartitionState.FAILED,
        Phase.RELEASED: PartitionState.FREE,
    }
)


class OtherNodes(Protocol):
    """The other nodes."""

    def on_change(self, changed: Callable[[], object]) -> None:
        """Call this each time that one is not as it was."""

    async def standings(self) -> Mapping[int, Sequence[Standing] | None]:
        """How the partitions of each stand; None: it does not answer."""


class NodesSeen:
    """Implements `api.cluster.Cluster` for a cluster."""

    def __init__(
        self,
        directory: Directory,
        whole: Whole,
        others: OtherNodes,
        *,
        now_us: Callable[[], int],
    ) -> None:
        """`whole` has the partitions of this node, and `others` are the other ones; `now_us` is the
        wall clock."""
        self._directory = directory
        self._whole = whole
        self._others = others
        self._since = Since(now_us)
        self._members()
        others.on_change(self._members)

    async def view(self) -> ClusterView:
        """See `Cluster`."""
        told = await self._others.standings()
        standing: dict[tuple[int | None, int], Standing] = {
            (member, one.number): one
            for member, several in [
                *told.items(),
                (self._directory.number, standings_of(self._whole)),
            ]
            for one in several or ()
        }
        partitions = [
            _partition(number, facts, standing.get((facts.member, number)))
            for number, facts in enumerate(self._directory.partitions)
        ]
        return ClusterView(True, self._members(), partitions)

    def _members(self) -> list[MemberView]:
        """All that ever joined; since when they are as they are is noted with each change."""
        return [self._member(number, facts) for number, facts in self._directory.members.items()]

    def _member(self, number: int, facts: MemberFacts) -> MemberView:
        is_silent = not facts.is_heard and facts.state is not Said.LEFT
        state = MemberState.AWAY if is_silent else _STATES[facts.state]
        return MemberView(
            number,
            facts.node,
            facts.address,
            state,
            self._since.of(number, (state, facts.nonce)),
            number == self._directory.number,
        )


def _partition(number: int, facts: PartitionFacts, standing: Standing | None) -> PartitionView:
    is_free = facts.member is None or facts.phase is Phase.RELEASED
    state = _PHASES[facts.phase]
    if not is_free and not facts.is_heard:
        state = PartitionState.AWAY
    is_told = standing is not None and state is PartitionState.OPEN
    return PartitionView(
        number,
        None if is_free else facts.member,
        PartitionState.FREE if is_free else state,
        facts.since_us or None,
        facts.epoch or None,
        standing.position if standing is not None and is_told else None,
        standing.late_ms if standing is not None and is_told else None,
        facts.why,
    )
