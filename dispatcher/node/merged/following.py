"""Partitions that move between processes, as operators see them: each is asked where the directory
says that it is, and one that is nowhere at the moment has moved (503), never gone (404)."""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.node.merged.whole import Merged
from dispatcher.peers.calls import Calls
from dispatcher.peers.directory import Directory
from dispatcher.queue.partition import Partition

CallsOf = Callable[[int], Calls | None]


class Following:
    """Keeps what operators see of other processes' partitions as the directory has it.

    A partition that is here is asked here, whatever the directory says: it knows that it has been
    lost before the directory does, or a moment later.
    """

    def __init__(
        self, merged: Merged, partitions: int, directory: Directory, calls_of: CallsOf
    ) -> None:
        """The cluster has so many partitions; `calls_of` gives those to a process, None where it
        is not known."""
        self._merged = merged
        self._partitions = partitions
        self._directory = directory
        self._calls_of = calls_of
        self._placed: dict[int, Calls] = {}

    def add(self, part: Partition) -> None:
        """A partition is here from now on."""
        self._placed.pop(part.config.partition, None)
        self._merged.add(part)

    def remove(self, part: Partition) -> None:
        """It is not here any more. Idempotent."""
        self._merged.remove(part)
        self.look()

    def look(self) -> None:
        """The directory says something else, or other processes are known."""
        for number in range(self._partitions):
            if not self._merged.has_here(number):
                self._place(number)

    def _place(self, number: int) -> None:
        owner = self._directory.process_of(number)
        calls = None if owner is None else self._calls_of(owner)
        if calls is self._placed.get(number):
            return
        if owner is None or calls is None:
            del self._placed[number]
            self._merged.leave(number)
        else:
            self._placed[number] = calls
            self._merged.add_remote(number, calls, owner)
