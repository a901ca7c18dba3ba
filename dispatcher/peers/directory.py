"""Which process has a partition."""

from __future__ import annotations

from typing import Protocol


class Directory(Protocol):
    """Asked with every message that goes to another process."""

    def process_of(self, partition: int) -> int | None:
        """The number of the process that has it; None: nobody knows at the moment."""


class ByRemainder:
    """The processes of one machine: each has the partitions with its remainder (`Directory`)."""

    __slots__ = ("_processes",)

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def process_of(self, partition: int) -> int:
        """See `Directory`."""
        return partition % self._processes
