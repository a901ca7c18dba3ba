"""What a node is in its cluster, once it has joined: its number, who else is there, and where the
logs of all partitions are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dispatcher.cluster.directory import Directory, MemberFacts
from dispatcher.cluster.holder import Ends
from dispatcher.errors import LogError
from dispatcher.node.desk_logs import DeskLogs
from dispatcher.node.lease_metrics import LeaseFigures
from dispatcher.peers.gate import Address, Gate, read_address
from dispatcher.queue.ports import LogName
from dispatcher.txlog import TransactionLog


class PartitionLogs(Protocol):
    """The logs of one partition, not open yet, and what they are called."""

    @property
    def log(self) -> TransactionLog:
        """Its messages."""

    @property
    def dead_log(self) -> TransactionLog:
        """Its dead letters."""

    @property
    def names(self) -> Mapping[LogName, str]:
        """As they are told."""


class Logs(Protocol):
    """Makes the logs of a cluster. `ends` are how far they are known to have reached."""

    def of(self, number: int, ends: Ends) -> PartitionLogs:
        """Those of a partition."""

    def desk(self, ends: Ends) -> DeskLogs:
        """Those that a desk has beside."""


class Member(Protocol):
    """This node among the others (`cluster.member.Member`)."""

    @property
    def takeovers_total(self) -> int:
        """How many partitions it has taken over since it started."""

    def begin(self) -> None:
        """Claim what nobody has, from now on."""

    async def leave(self) -> None:
        """Hand everything over."""

    def lost(self, partition: int, error: LogError) -> None:
        """The node has let go of an open partition, as a log of it has said this."""

    def late_s(self) -> float:
        """How long ago the eldest renewal was sent that its leases rest on."""

    def silent_s(self) -> float:
        """How long ago it was last heard."""


@dataclass(frozen=True, slots=True)
class Clustered:
    """`number` is this node's, from 0, and `nonce` another one each time it starts. Places are
    spread over so many partitions (`spread`), which are all that there are. `gate` lets the others
    in, and listens already."""

    number: int
    nonce: int
    spread: int
    directory: Directory
    member: Member
    logs: Logs
    gate: Gate

    @property
    def leases(self) -> LeaseFigures:
        """What its metrics tell of them."""
        return LeaseFigures(
            owned=lambda: self.directory.owned,
            takeovers=lambda: self.member.takeovers_total,
            late_s=self.member.late_s,
        )

    def others(self) -> dict[int, MemberFacts]:
        """The other nodes that are there, by number."""
        return {
            number: facts
            for number, facts in self.directory.members.items()
            if facts.is_there and number != self.number
        }

    def address_of(self, number: int) -> Address | None:
        """Where another node is reached."""
        facts = self.others().get(number)
        return None if facts is None else read_address(facts.address)
