"""Which part of a node a process has. A node of one process is that process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dispatcher.core.placing import FIRST


@dataclass(frozen=True, slots=True)
class Assignment:
    """Process `number`, from 0, of a node of so many `processes`.

    `partitions` are those that it has, its own one (`own`) among them. Messages without a key lie
    in partitions that are no surplus; `spread` is how many partitions places are spread over,
    wherever they are, and `former` how many it was before, the latest first. `every` are all
    partitions of the node, where that matters: where there are former ones. A node of a cluster has
    no `partitions` that are its own as long as it serves.
    """

    number: int = 0
    partitions: tuple[int, ...] = (0,)
    spread: int = 1
    processes: int = 1
    former: tuple[int, ...] = ()
    every: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.partitions and self.own not in self.partitions:
            raise ValueError(f"partition {self.own} is not among {self.partitions}")

    @classmethod
    def alone(cls, count: int) -> Self:
        """One process, with so many partitions."""
        return cls(0, tuple(range(count)), count)

    @classmethod
    def of_member(cls, number: int, spread: int) -> Self:
        """A node of a cluster: its partitions come and go, and there are other nodes or none."""
        return cls(number, (), spread)

    @property
    def own(self) -> int:
        """The partition that takes messages without a key."""
        return self.number

    @property
    def has_desk(self) -> bool:
        """Whether the API is here, and all that there is once in a node: with partition 0."""
        return FIRST in self.partitions

    @property
    def is_whole(self) -> bool:
        """Whether there is one partition and no other: nothing has to be routed."""
        return self.partitions == (0,) and self.spread == 1 and not self.former

    def is_surplus(self, partition: int) -> bool:
        """Whether a partition takes no messages without a key, and is delivered empty."""
        return partition >= self.spread
