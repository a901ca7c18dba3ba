"""What the records of a cluster say, as bytes. Pure.

    cluster       made once: how many partitions there are
    m.<number>    a member: its node, its address, how it is; stored anew each second
    p.<number>    a partition: whose it is; stored anew each second by its owner

JSON objects. A field that is not known is passed over, so that a later version can say more;
`version` is raised only where older programs must not go on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeVar

E = TypeVar("E", bound=Enum)

VERSION: Final = 1
CLUSTER_KEY: Final = "cluster"
MOST_MEMBERS: Final = 251
"""Numbers of members are 0 to 250."""


class Unreadable(Exception):
    """A record is not what a member writes, or a later version wrote it."""


def member_key(number: int) -> str:
    """The key of a member's record."""
    return f"m.{number}"


def partition_key(number: int) -> str:
    """The key of a partition's record."""
    return f"p.{number}"


class MemberState(Enum):
    """How a member is, as it says itself."""

    JOINING = "joining"
    """It will take its share of partitions soon."""
    LIVE = "live"
    LEAVING = "leaving"
    """It hands over what it has, and takes nothing more."""
    LEFT = "left"
    """It has nothing, and is gone; its number is free."""

    @property
    def is_there(self) -> bool:
        """Whether it takes its share."""
        return self in {MemberState.JOINING, MemberState.LIVE}


class Phase(Enum):
    """How far the owner of a partition is with it."""

    OPENING = "opening"
    OPEN = "open"
    """It accepts messages for it."""
    LEAVING = "leaving"
    """It is being handed over."""
    FAILED = "failed"
    """It cannot be opened, and a person has to see to it; the record says why."""
    RELEASED = "released"
    """It is nobody's: whoever comes first may have it."""


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """`nonce` is drawn anew each time the node starts; `n` counts what it stores."""

    node: str
    address: str
    nonce: int
    n: int
    state: MemberState

    def encode(self) -> bytes:
        """As it is stored."""
        return _encode(
            node=self.node, address=self.address, nonce=self.nonce, n=self.n, state=self.state.value
        )


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """Whose a partition is: the member's number and node, and its `nonce`. `n` tells apart what
    that one sends, also what it sends again.

    `epoch` is that under which it opened its logs, 0 in a claim, whose revision will be it;
    `since_us` is when the phase began, by the owner's wall clock. `ends`: see `holder.Ends`.
    """

    member: int
    node: str
    nonce: int
    n: int
    phase: Phase
    epoch: int = 0
    since_us: int = 0
    ends: Mapping[str, int] = field(default_factory=dict)
    why: str = ""

    @property
    def is_held(self) -> bool:
        """Whether somebody has it."""
        return self.phase is not Phase.RELEASED

    def encode(self) -> bytes:
        """As it is stored."""
        return _encode(
            member=self.member,
            node=self.node,
            nonce=self.nonce,
            n=self.n,
            state="held" if self.is_held else "released",
            phase=self.phase.value,
            epoch=self.epoch,
            since_us=self.since_us,
            ends=dict(self.ends),
            why=self.why,
        )


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """What is fixed for a cluster: how many `partitions` there are, and whose signatures
    applications trust (`signing_key`, a fingerprint; empty while nothing signs)."""

    partitions: int
    signing_key: str = ""

    def encode(self) -> bytes:
        """As it is stored."""
        return _encode(partitions=self.partitions, signing_key=self.signing_key)


def read_member(value: bytes) -> MemberRecord:
    """Raises Unreadable."""
    found = _Fields(value)
    return MemberRecord(
        found.text("node"),
        found.text("address"),
        found.count("nonce"),
        found.count("n"),
        found.one_of(MemberState, "state"),
    )


def read_lease(value: bytes) -> LeaseRecord:
    """Raises Unreadable."""
    found = _Fields(value)
    return LeaseRecord(
        found.count("member"),
        found.text("node"),
        found.count("nonce"),
        found.count("n"),
        found.one_of(Phase, "phase"),
        found.count("epoch"),
        found.count("since_us"),
        found.counts("ends"),
        found.text("why"),
    )


def read_cluster(value: bytes) -> ClusterRecord:
    """Raises Unreadable."""
    found = _Fields(value)
    partitions = found.count("partitions")
    if partitions < 1:
        raise Unreadable("a cluster without partitions")
    return ClusterRecord(partitions, found.text("signing_key"))


def _encode(**fields: object) -> bytes:
    return json.dumps({"version": VERSION, **fields}, separators=(",", ":")).encode()


class _Fields:
    """The fields of a record."""

    __slots__ = ("_said",)

    def __init__(self, value: bytes) -> None:
        try:
            said = json.loads(value)
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise Unreadable("it is no JSON") from error
        if not isinstance(said, dict):
            raise Unreadable("it is no JSON object")
        self._said: dict[str, Any] = said
        version = self.count("version")
        if not 1 <= version <= VERSION:
            raise Unreadable(
                f"it is of version {version}, {VERSION} is the newest known: start the version of"
                " Dispatcher that wrote it, or a later one"
            )

    def text(self, name: str) -> str:
        found = self._said.get(name, "")
        if not isinstance(found, str):
            raise Unreadable(f"{name} is no text")
        return found

    def count(self, name: str) -> int:
        found = self._said.get(name, 0)
        if type(found) is not int or found < 0:
            raise Unreadable(f"{name} is no count")
        return found

    def counts(self, name: str) -> dict[str, int]:
        found = self._said.get(name, {})
        if not isinstance(found, dict):
            raise Unreadable(f"{name} is no object")
        if any(type(one) is not int or one < 0 for one in found.values()):
            raise Unreadable(f"{name} has something else than counts")
        return found

    def one_of(self, kind: type[E], name: str) -> E:
        try:
            return kind(self._said.get(name))
        except ValueError as error:
            raise Unreadable(f"{name} is {str(self._said.get(name))[:20]}") from error
