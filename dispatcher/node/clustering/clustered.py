"""What a server is given where it is a node of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.cluster.directory import Directory
from dispatcher.cluster.member import Member
from dispatcher.node.clustering.streams import Streams
from dispatcher.peers.gate import Gate


@dataclass(frozen=True, slots=True)
class Clustered:
    """Member `number` of a cluster of `spread` partitions, which knows from `directory` who has
    them. `member` has started and claims nothing yet: the server has it begin when it can hold
    partitions, and leave before it stops. `logs` makes their logs; `gate` is where nodes meet,
    and listens already. `nonce` is another one each time the node starts."""

    number: int
    spread: int
    directory: Directory
    member: Member
    logs: Streams
    gate: Gate
    nonce: int
