"""What a node is told of its cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dispatcher.settings import Address
from dispatcher.txlog.nats.access import Access

REPLICAS: Final = 3


@dataclass(frozen=True, slots=True)
class MutualFiles:
    """PEM files of TLS between nodes: the authority, a certificate of it, and its key."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """`servers` are those of NATS, the nearest first, with `access` to them, and `monitoring` is
    where each of them says how it is configured. `node` is this machine's name, which listens for
    the others at `listen`; they reach it at `advertise`, host and port, and know the `key`.
    `quota_bytes` is what a log may take, `replicas` how many copies of it there are.
    """

    servers: Sequence[str]
    access: Access
    monitoring: Sequence[str]
    partitions: int
    node: str
    listen: Address
    advertise: str
    key: bytes = field(repr=False)
    quota_bytes: int
    tls: MutualFiles | None = None
    replicas: int = REPLICAS
