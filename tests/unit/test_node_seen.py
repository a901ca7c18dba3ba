"""Who does the work, as the API is told: processes of a server, and nodes of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pytest

from dispatcher.api.cluster import ClusterView, MemberState, PartitionState, PartitionView
from dispatcher.cluster.directory import Directory, MemberFacts, PartitionFacts
from dispatcher.cluster.records import MemberState as Said
from dispatcher.cluster.records import Phase
from dispatcher.node import nodes_seen, processes_seen
from dispatcher.node.assignment import Assignment
from dispatcher.node.nodes_seen import NodesSeen
from dispatcher.node.others import Others
from dispatcher.node.processes_seen import ProcessesSeen
from dispatcher.node.standing import Standing
from dispatcher.node.whole import Whole

WHOLE = cast(Whole, None)


class Elsewhere:
    """The others, who say what they are told to say."""

    def __init__(self, **told: Sequence[Standing] | None) -> None:
        self.told: dict[int, Sequence[Standing] | None] = {
            int(name[1:]): said for name, said in told.items()
        }
        self.away = frozenset(number for number, said in self.told.items() if said is None)
        self.changed: Callable[[], object] = lambda: None

    def on_change(self, changed: Callable[[], object]) -> None:
        """See `Others`."""
        self.changed = changed

    def become(self, number: int, said: Sequence[Standing] | None) -> None:
        """One comes or goes."""
        self.told[number] = said
        self.away = frozenset(one for one, told in self.told.items() if told is None)
        self.changed()

    async def standings(self) -> Mapping[int, Sequence[Standing] | None]:
        """See `Others`."""
        return self.told


@pytest.fixture(autouse=True)
def _own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers has partition 0, with a log of 100 bytes."""
    for module in (processes_seen, nodes_seen):
        monkeypatch.setattr(module, "standings_of", lambda _: [Standing(0, 100, 0)])


class Clock:
    """`now_us` is what a test says."""

    now_us = 1_000

    def __call__(self) -> int:
        return self.now_us


def viewed(seen: ProcessesSeen | NodesSeen) -> ClusterView:
    """What is told."""
    return asyncio.run(seen.view())


def states(view: ClusterView) -> list[str]:
    """How members and partitions are."""
    members = [one.state.value for one in view.members]
    return members + [one.state.value for one in view.partitions]


def test_one_process_has_all_partitions() -> None:
    """There is nobody to ask; with former partitions it has these too."""
    seen = ProcessesSeen(WHOLE, Assignment(), others=None, now_us=Clock())
    view = viewed(seen)
    assert not view.is_cluster
    (member,) = view.members
    assert (member.number, member.state, member.address) == (0, MemberState.LIVE, None)
    assert (member.has_api, member.since_us) == (True, 1_000)
    assert view.partitions == [
        PartitionView(0, 0, PartitionState.OPEN, 1_000, position=100, late_ms=0)
    ]


def test_process_that_goes_is_away_since_then_and_its_partitions_with_it() -> None:
    """Also where nobody looked at that moment; it opens them when it is there again."""
    clock = Clock()
    others = Elsewhere(p1=[Standing(1, 7, 3), Standing(4, 9, 0)], p2=[Standing(2, 5, 0)])
    assignment = Assignment(0, (0, 3), 5, 3)
    seen = ProcessesSeen(WHOLE, assignment, others=cast(Others, others), now_us=clock)
    view = viewed(seen)
    assert [one.number for one in view.partitions] == [0, 1, 2, 3, 4]
    assert [one.owner for one in view.partitions] == [0, 1, 2, 0, 1]
    assert (view.partitions[4].position, view.partitions[1].late_ms) == (9, 3)
    assert states(view) == ["live", "live", "live", "open", "open", "open", "opening", "open"]
    clock.now_us = 2_000
    others.become(1, None)
    clock.now_us = 3_000
    view = viewed(seen)
    assert states(view) == ["live", "away", "live", "open", "away", "open", "opening", "away"]
    assert view.members[1].since_us == view.partitions[4].since_us == 2_000
    assert view.partitions[4].position is None
    others.become(1, [Standing(1, 7, 3)])
    view = viewed(seen)
    assert view.members[1].since_us == 3_000
    assert view.partitions[4].state is PartitionState.OPENING


def member(node: str, state: Said = Said.LIVE, *, is_heard: bool = True) -> MemberFacts:
    """A node of a cluster."""
    return MemberFacts(node, f"{node}:8082", 7, state, is_heard)


def test_nodes_are_as_they_say_unless_they_are_not_heard() -> None:
    """Who was stopped has left, and is not missed."""
    directory, clock = Directory(1, 1), Clock()
    others = Elsewhere()
    seen = NodesSeen(directory, WHOLE, others, now_us=clock)
    directory.on_change(lambda: others.changed())
    directory.show({0: member("a"), 1: member("b"), 2: member("c", Said.JOINING)}, {})
    clock.now_us = 2_000
    directory.show(
        {
            0: member("a", is_heard=False),
            1: member("b"),
            2: member("c", Said.LEAVING),
            3: member("d", Said.LEFT, is_heard=False),
        },
        {},
    )
    clock.now_us = 3_000
    view = viewed(seen)
    assert view.is_cluster
    assert states(view) == ["away", "live", "leaving", "left", "free"]
    assert [one.since_us for one in view.members] == [2_000, 1_000, 2_000, 2_000]
    assert [one.has_api for one in view.members] == [False, True, False, False]
    assert view.members[0].address == "a:8082"


def test_partitions_are_as_their_owners_say_unless_those_are_not_heard() -> None:
    """Where its log ends says who has it now, and nobody else."""
    directory = Directory(0, 7)
    others = Elsewhere(p1=[Standing(1, 11, 2), Standing(6, 66, 0)], p2=None)
    seen = NodesSeen(directory, WHOLE, others, now_us=Clock())
    directory.show(
        {0: member("a"), 1: member("b")},
        {
            0: PartitionFacts(0, Phase.OPEN, 3, 500),
            1: PartitionFacts(1, Phase.OPEN, 4, 600),
            2: PartitionFacts(1, Phase.OPENING, 5, 700),
            3: PartitionFacts(2, Phase.OPEN, 6, 800, is_heard=False),
            4: PartitionFacts(1, Phase.FAILED, 7, 900, "the log ends too soon"),
            5: PartitionFacts(1, Phase.RELEASED, 8, 950),
            6: PartitionFacts(0, Phase.OPEN, 9, 960),
        },
    )
    view = viewed(seen)
    assert view.partitions == [
        PartitionView(0, 0, PartitionState.OPEN, 500, 3, 100, 0),
        PartitionView(1, 1, PartitionState.OPEN, 600, 4, 11, 2),
        PartitionView(2, 1, PartitionState.OPENING, 700, 5),
        PartitionView(3, 2, PartitionState.AWAY, 800, 6),
        PartitionView(4, 1, PartitionState.FAILED, 900, 7, why="the log ends too soon"),
        PartitionView(5, None, PartitionState.FREE, 950, 8),
        PartitionView(6, 0, PartitionState.OPEN, 960, 9),
    ]


def test_partition_that_nobody_ever_had_is_free() -> None:
    """As all are in the first seconds of a cluster."""
    view = viewed(NodesSeen(Directory(0, 2), WHOLE, Elsewhere(), now_us=Clock()))
    assert view.partitions == [PartitionView(n, None, PartitionState.FREE, None) for n in (0, 1)]
