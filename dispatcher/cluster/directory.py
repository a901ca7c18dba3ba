"""Who has what in the cluster, as this member knows it: for everybody who asks.

It may be a moment behind, and wrong where the store is out of reach: whoever is asked for what it
does not have says so, and `look_again` brings what is so now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from dispatcher.cluster.records import MemberState, Phase


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """A member. `is_heard` says whether it was heard of lately; `nonce` is another one each time
    its node starts."""

    node: str
    address: str
    nonce: int
    state: MemberState
    is_heard: bool

    @property
    def is_there(self) -> bool:
        """Whether it can be asked for something: until it has left, as far as anybody knows."""
        return self.is_heard and self.state is not MemberState.LEFT


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """A partition: the `member` that has it, and how far that one is; None: it was never owned.

    `since_us` is when its phase began, by its owner's wall clock. `is_heard` says whether its
    lease was renewed lately: one that was not is taken over.
    """

    member: int | None = None
    phase: Phase = Phase.RELEASED
    epoch: int = 0
    since_us: int = 0
    why: str = ""
    is_heard: bool = True

    @property
    def owner(self) -> int | None:
        """The member that accepts messages for it; None: nobody at the moment."""
        return self.member if self.phase is Phase.OPEN else None


class Directory:
    """Who has what, as the member with this number knows it (`peers.directory.Directory`)."""

    def __init__(
        self, number: int, partitions: int, look_again: Callable[[], bool] = lambda: False
    ) -> None:
        self.number = number
        self._partitions = [PartitionFacts()] * partitions
        self._members: dict[int, MemberFacts] = {}
        self._changed: list[Callable[[], object]] = []
        self._look_again = look_again

    def __repr__(self) -> str:
        owners = [self.process_of(one) for one in range(len(self._partitions))]
        return f"<Directory of member {self.number}: {sorted(self._members)}, owners {owners}>"

    def process_of(self, partition: int) -> int | None:
        """The number of the member that accepts messages for it; None: nobody knows at the
        moment."""
        return self._partitions[partition].owner

    @property
    def partitions(self) -> tuple[PartitionFacts, ...]:
        """All of the cluster, in order."""
        return tuple(self._partitions)

    @property
    def members(self) -> Mapping[int, MemberFacts]:
        """All that ever joined, by number, this one among them; who left keeps its place until
        another takes its number."""
        return MappingProxyType(self._members)

    @property
    def owned(self) -> tuple[int, ...]:
        """The partitions that this member accepts messages for."""
        return tuple(
            number for number, one in enumerate(self._partitions) if one.owner == self.number
        )

    def on_change(self, changed: Callable[[], object]) -> Callable[[], None]:
        """Call `changed` on the loop, after anything here is another than before: a member came or
        went, a partition has another owner or phase. Not for renewals. Returns what ends that."""
        self._changed.append(changed)
        return partial(self._changed.remove, changed)

    def look_again(self) -> bool:
        """Somebody who should have a partition does not: look once more, now. What is found is told
        as every change. Several who want it look once. False: nobody looks any more."""
        return self._look_again()

    # Told by the member.

    def show(
        self, members: Mapping[int, MemberFacts], partitions: Mapping[int, PartitionFacts]
    ) -> None:
        """Replace what is known, and tell who wants to know if that is something else."""
        before = (self._members, self._partitions)
        self._members = dict(sorted(members.items()))
        self._partitions = [
            partitions.get(number, PartitionFacts()) for number in range(len(self._partitions))
        ]
        if before != (self._members, self._partitions):
            for changed in tuple(self._changed):
                changed()
