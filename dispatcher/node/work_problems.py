"""Who is missing: the problems of processes, of nodes and of partitions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dispatcher.api.cluster import (
    ClusterView,
    MemberState,
    MemberView,
    PartitionState,
    PartitionView,
)
from dispatcher.api.outlook import Problem, Severity
from dispatcher.node.problem_parts import MOST_NAMED, about, behind

_MISSED_US: Final = 86_400 * 1_000_000
"""A machine that is gone for good is no problem for ever; its number goes to the next new node."""


def of_work(view: ClusterView | None, now_us: int) -> Iterator[Problem]:
    """Those of processes, or of nodes and partitions; `now_us` is by the wall clock."""
    if view is None:
        return
    away = [one for one in view.members if one.state is MemberState.AWAY]
    if not view.is_cluster:
        for process in away:
            yield _process_away(process, view.partitions, now_us)
        return
    for one in view.partitions:
        if one.state is PartitionState.FAILED:
            yield _partition_failed(one, view.members)
    yield from _partitions_free(view.partitions, now_us)
    missed = [node for node in away if now_us - (node.since_us or now_us) < _MISSED_US]
    for node in missed[:MOST_NAMED]:
        yield Problem(
            "node_away",
            Severity.WARNING,
            f"The node {node.node} has not answered{_lasting(node.since_us, now_us)}, and "
            "was not stopped; the others do its work. Start it again; after a day it is not missed "
            "any more.",
            since_us=node.since_us,
        )
    more = len(missed) - MOST_NAMED
    yield from behind(
        "nodes_away",
        Severity.WARNING,
        more,
        f"{more} more {'node does' if more == 1 else 'nodes do'} not answer.",
    )


def _process_away(process: MemberView, partitions: Sequence[PartitionView], now_us: int) -> Problem:
    had = [one.number for one in partitions if one.owner == process.number]
    return Problem(
        "process_away",
        Severity.ERROR,
        f"Process {process.number} has not answered{_lasting(process.since_us, now_us)}. It is "
        f"started again by itself; until then what {_named(had)} waits. The log says what "
        "became of it.",
        since_us=process.since_us,
    )


def _partition_failed(one: PartitionView, members: Sequence[MemberView]) -> Problem:
    who = next((member.node for member in members if member.number == one.owner), "its node")
    why = f": {one.why.rstrip('.')}" if one.why else ""
    return Problem(
        "partition_failed",
        Severity.ERROR,
        f"{who} cannot open partition {one.number}{why}. What lies there waits, and none of it is "
        "skipped; the log of the node says more.",
        since_us=one.since_us,
    )


def _partitions_free(partitions: Sequence[PartitionView], now_us: int) -> Iterator[Problem]:
    free = [one for one in partitions if one.state in (PartitionState.FREE, PartitionState.AWAY)]
    for one in free[:MOST_NAMED]:
        yield Problem(
            "partition_free",
            Severity.ERROR,
            f"No node has had partition {one.number}{_lasting(one.since_us, now_us)}; what lies "
            "there waits. One takes it over within seconds: if none does, see whether nodes reach "
            "NATS.",
            since_us=one.since_us,
        )
    more = len(free) - MOST_NAMED
    yield from behind(
        "partitions_free",
        Severity.ERROR,
        more,
        f"No node has {more} more {'partition' if more == 1 else 'partitions'}.",
    )


def _named(partitions: Sequence[int]) -> str:
    """As in `partition 3 has`, `partitions 1, 4 and 7 have`."""
    numbers = [str(number) for number in partitions]
    if len(numbers) < 2:
        return f"partition {numbers[0]} has" if numbers else "it has"
    return f"partitions {', '.join(numbers[:-1])} and {numbers[-1]} have"


def _lasting(since_us: int | None, now_us: int) -> str:
    """As in ` for 3 minutes`; nothing where it is not known."""
    return "" if since_us is None else f" for {about(max(now_us - since_us, 0) / 1e6)}"
