"""Who is missing, as problems: processes of a server, nodes and partitions of a cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dispatcher.api.cluster import (
    ClusterView,
    MemberState,
    MemberView,
    PartitionState,
    PartitionView,
)
from dispatcher.api.outlook import Problem, Severity
from dispatcher.node.work_problems import of_work

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND


def processes(count: int, *away: int, partitions: int | None = None) -> ClusterView:
    """A server of so many processes, some of them away for three seconds."""
    members = [
        MemberView(
            number,
            "app-1",
            None,
            MemberState.AWAY if number in away else MemberState.LIVE,
            NOW - 3 * SECOND,
            number == 0,
        )
        for number in range(count)
    ]
    return ClusterView(
        False,
        members,
        [
            PartitionView(
                number,
                number % count,
                PartitionState.AWAY if number % count in away else PartitionState.OPEN,
                NOW - 3 * SECOND,
            )
            for number in range(partitions or count)
        ],
    )


def nodes(count: int, **others: PartitionState) -> ClusterView:
    """A cluster whose first node has all six partitions, in these states where they have one."""
    members = [
        MemberView(number, f"node-{number}", f"10.0.0.{number}:8082", MemberState.LIVE, NOW, False)
        for number in range(count)
    ]
    return ClusterView(
        True,
        members,
        [
            PartitionView(
                number, 0, others.get(f"p{number}", PartitionState.OPEN), NOW - 90 * SECOND
            )
            for number in range(12)
        ],
    )


def found(view: ClusterView | None) -> list[Problem]:
    """What is wrong."""
    return list(of_work(view, NOW))


def test_nothing_is_missing_where_all_are_there() -> None:
    """One process, several, nodes that join, leave or were stopped, and partitions that move."""
    assert found(None) == found(processes(1)) == found(processes(4)) == []
    moving = nodes(4, p1=PartitionState.OPENING, p2=PartitionState.LEAVING)
    states = (MemberState.LIVE, MemberState.JOINING, MemberState.LEAVING, MemberState.LEFT)
    members = [replace(one, state=state) for one, state in zip(moving.members, states, strict=True)]
    assert found(replace(moving, members=members)) == []


@pytest.mark.parametrize(
    ("partitions", "words"),
    [(3, "partition 1 has"), (6, "partitions 1 and 4 have"), (9, "partitions 1, 4 and 7 have")],
)
def test_process_that_is_away_is_named_with_what_waits_for_it(partitions: int, words: str) -> None:
    """It is an error while it lasts: messages stay."""
    (one,) = found(processes(3, 1, partitions=partitions))
    assert (one.slug, one.severity) == ("process_away", Severity.ERROR)
    assert one.since_us == NOW - 3 * SECOND
    assert one.message == (
        "Process 1 has not answered for 3 seconds. It is started again by itself; until then what "
        f"{words} waits. The log says what became of it."
    )


def test_node_that_is_away_is_a_warning_as_others_do_its_work() -> None:
    """Five are named, and the others counted."""
    view = nodes(8)
    members = [
        replace(one, state=MemberState.AWAY, since_us=NOW - 90 * SECOND) if one.number else one
        for one in view.members
    ]
    problems = found(replace(view, members=members))
    assert [one.slug for one in problems] == ["node_away"] * 5 + ["nodes_away"]
    assert {one.severity for one in problems} == {Severity.WARNING}
    assert problems[0].message == (
        "The node node-1 has not answered for 1 minute, and was not stopped; the others do its "
        "work. Start it again; after a day it is not missed any more."
    )
    assert (problems[5].count, problems[5].message) == (2, "2 more nodes do not answer.")
    gone = [replace(one, since_us=NOW - 86_400 * SECOND) for one in members]
    assert found(replace(view, members=gone)) == []


@pytest.mark.parametrize("state", [PartitionState.FREE, PartitionState.AWAY])
def test_partition_that_nobody_serves_is_an_error(state: PartitionState) -> None:
    """Whether it has no owner, or one that does not answer; the first five are named."""
    view = nodes(2, **{f"p{number}": state for number in range(2, 8)})
    problems = found(view)
    assert [one.slug for one in problems] == ["partition_free"] * 5 + ["partitions_free"]
    assert {one.severity for one in problems} == {Severity.ERROR}
    assert problems[0].message.startswith("No node has had partition 2 for 1 minute; what lies ")
    assert problems[5].message == "No node has 1 more partition."


def test_partition_that_cannot_be_opened_comes_first_and_says_why() -> None:
    """Only a person can see to that."""
    view = nodes(2, p3=PartitionState.FAILED, p1=PartitionState.FREE)
    partitions = [replace(one, why="the log ends too soon.") for one in view.partitions]
    first, _ = found(replace(view, partitions=partitions))
    assert (first.slug, first.severity) == ("partition_failed", Severity.ERROR)
    assert first.message.startswith("node-0 cannot open partition 3: the log ends too soon. What ")


def test_instants_ahead_are_told_as_now() -> None:
    """Clocks of machines differ."""
    view = nodes(1, p1=PartitionState.FREE)
    partitions = [replace(one, since_us=NOW + SECOND) for one in view.partitions]
    (one,) = found(replace(view, partitions=partitions))
    assert "for 0 seconds" in one.message
    (one,) = found(replace(view, partitions=[replace(one, since_us=None) for one in partitions]))
    assert one.message.startswith("No node has had partition 1; what")
