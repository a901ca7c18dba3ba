"""Who has what, told to everybody who asks."""

from __future__ import annotations

from dispatcher.cluster.directory import Directory, MemberFacts, PartitionFacts
from dispatcher.cluster.records import MemberState, Phase

A = MemberFacts("a", "a:1", 7, MemberState.LIVE, True)
B = MemberFacts("b", "b:1", 8, MemberState.LIVE, True)


def test_a_partition_is_found_where_it_is_open() -> None:
    """While its owner opens it, or cannot, nobody accepts messages for it."""
    directory = Directory(0, 3)
    assert [directory.process_of(one) for one in range(3)] == [None, None, None]
    phases = {0: Phase.OPEN, 1: Phase.OPENING, 2: Phase.FAILED}
    directory.show({0: A, 1: B}, {one: PartitionFacts(1, phase) for one, phase in phases.items()})
    assert [directory.process_of(one) for one in range(3)] == [1, None, None]
    assert directory.owned == ()
    assert directory.partitions[2].member == 1


def test_who_wants_to_know_hears_of_changes_and_of_nothing_else() -> None:
    """Once each, when it is so already."""
    directory = Directory(0, 1)
    heard: list[int | None] = []
    directory.on_change(lambda: heard.append(directory.process_of(0)))
    for _ in range(2):
        directory.show({0: A}, {0: PartitionFacts(0, Phase.OPEN, 7)})
    directory.show({0: A}, {})
    directory.show({0: A, 1: B}, {})
    assert heard == [0, None, None]


def test_whoever_finds_a_partition_moved_may_have_it_looked_at_again() -> None:
    """As long as somebody looks."""
    assert Directory(0, 1, lambda: True).look_again()
    assert not Directory(0, 1).look_again()
