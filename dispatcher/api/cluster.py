"""Who does the work, and who has which partition: what the API asks for `/v1/cluster`.

Plain values; instants are microseconds since the epoch. `Cluster` has a twin for tests in
`dispatcher.testing.cluster`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class MemberState(Enum):
    """How a member is; the value is the API's word."""

    JOINING = "joining"
    """It will take its share of partitions soon."""
    LIVE = "live"
    LEAVING = "leaving"
    """It hands over what it has."""
    LEFT = "left"
    """It was stopped."""
    AWAY = "away"
    """It does not answer, although it was not stopped."""


class PartitionState(Enum):
    """How a partition is; the value is the API's word."""

    OPENING = "opening"
    """Its owner reads its log."""
    OPEN = "open"
    """It accepts and delivers."""
    LEAVING = "leaving"
    """Its owner hands it over."""
    FAILED = "failed"
    """Its owner cannot open it: a person has to see to it."""
    AWAY = "away"
    """Its owner does not answer."""
    FREE = "free"
    """Nobody has it."""


@dataclass(frozen=True, slots=True)
class MemberView:
    """One of those who do the work: a process of a server, or a node of a cluster. `address` is
    where others reach it, None within one machine. `since_us` is when `state` began, as far as who
    answers knows; `has_api`: the API that answers is its."""

    number: int
    node: str
    address: str | None
    state: MemberState
    since_us: int | None
    has_api: bool


@dataclass(frozen=True, slots=True)
class PartitionView:
    """A partition. `owner` is the number of the member that has it, or had it last where that is
    away; None: nobody. `epoch` counts its owners, None where it has always had the same one.

    `position` is where its log ends, and `late_ms` for how long the batch under way has been with
    the log, 0 where none is; both are None where its owner does not say. `why` is what keeps it
    from being opened.
    """

    number: int
    owner: int | None
    state: PartitionState
    since_us: int | None
    epoch: int | None = None
    position: int | None = None
    late_ms: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """All members and all partitions, in the order of their numbers. `is_cluster`: members are
    nodes, which may lie on several machines; else they are processes of one server."""

    is_cluster: bool
    members: Sequence[MemberView]
    partitions: Sequence[PartitionView]


class Cluster(Protocol):
    """Who knows that."""

    async def view(self) -> ClusterView:
        """As it is now. Who does not answer within some seconds is not waited for."""
