"""A `Cluster` that says what it is told: one process with one partition, or three nodes, of which
one is away."""

from __future__ import annotations

from dispatcher.api.cluster import (
    ClusterView,
    MemberState,
    MemberView,
    PartitionState,
    PartitionView,
)

_SECOND_US = 1_000_000


def alone(now_us: int) -> ClusterView:
    """A server of one process."""
    return ClusterView(
        False,
        [MemberView(0, "dispatcher-1.example", None, MemberState.LIVE, now_us, True)],
        [PartitionView(0, 0, PartitionState.OPEN, now_us, None, 4096, 0)],
    )


def three_nodes(now_us: int) -> ClusterView:
    """A cluster in which a node went away a moment ago."""
    long_ago, lately = now_us - 86_400 * _SECOND_US, now_us - 4 * _SECOND_US
    members = [
        MemberView(
            number,
            f"node-{number + 1}",
            f"node-{number + 1}.example:8082",
            MemberState.AWAY if number == 2 else MemberState.LIVE,
            lately if number == 2 else long_ago,
            number == 0,
        )
        for number in range(3)
    ]
    partitions = [
        PartitionView(0, 0, PartitionState.OPEN, long_ago, 12, 73_400_320, 0),
        PartitionView(1, 1, PartitionState.OPEN, long_ago, 13, 52_428_800, 3),
        PartitionView(2, 0, PartitionState.OPENING, lately, 31, None, None),
        PartitionView(3, 2, PartitionState.AWAY, lately, 15, None, None),
        PartitionView(4, None, PartitionState.FREE, lately, 30, None, None),
        PartitionView(
            5, 1, PartitionState.FAILED, long_ago, 17, None, None, "the log ends too soon"
        ),
    ]
    return ClusterView(True, members, partitions)


class MemoryCluster:
    """`shown` is what is answered, and may be replaced."""

    def __init__(self, shown: ClusterView) -> None:
        self.shown = shown

    async def view(self) -> ClusterView:
        """See `Cluster`."""
        return self.shown
