"""What waits for the log: records in the order of their arrival, and which of them the next batch
takes.

Records keep their order among the urgent ones and among the others. A batch takes the urgent ones
first, and never a part of a unit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from dispatcher.queue.commit.copies import Modest
from dispatcher.queue.commit.telling import Waiter
from dispatcher.queue.commit.unit import Part
from dispatcher.queue.records.kinds import OVERHEAD_BYTES


class Records:
    """Records in the order of their arrival, each with its waiter. `size_bytes` is what they take
    with their overhead."""

    __slots__ = ("payloads", "size_bytes", "waiters")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.waiters: list[Waiter | None] = []
        self.size_bytes = 0

    def add(self, payload: bytes, waiter: Waiter | None) -> None:
        """Put a record at the end."""
        self.payloads.append(payload)
        self.waiters.append(waiter)
        self.size_bytes += len(payload) + OVERHEAD_BYTES

    def take(self, most_bytes: int) -> Records:
        """Split off the first records that take at most `most_bytes` with their overhead."""
        taken = Records()
        if self.size_bytes <= most_bytes:
            taken.payloads, self.payloads = self.payloads, taken.payloads
            taken.waiters, self.waiters = self.waiters, taken.waiters
            taken.size_bytes, self.size_bytes = self.size_bytes, 0
            return taken
        count = 0
        for payload in self.payloads:
            cost = len(payload) + OVERHEAD_BYTES
            if taken.size_bytes + cost > most_bytes:
                break
            taken.size_bytes += cost
            count += 1
        while 0 < count < len(self.waiters) and _is_inside(self.waiters[count]):
            count -= 1  # the next batch gets the whole unit
            taken.size_bytes -= len(self.payloads[count]) + OVERHEAD_BYTES
        taken.payloads, self.payloads = self.payloads[:count], self.payloads[count:]
        taken.waiters, self.waiters = self.waiters[:count], self.waiters[count:]
        self.size_bytes -= taken.size_bytes
        return taken

    def take_first(self) -> Records:
        """Split off the first record, however large it is. It is of no unit."""
        return self.take(len(self.payloads[0]) + OVERHEAD_BYTES)

    def put_back(self, taken: Records) -> None:
        """Undo `take`."""
        self.payloads[:0] = taken.payloads
        self.waiters[:0] = taken.waiters
        self.size_bytes += taken.size_bytes

    def drop(self) -> list[Waiter | None]:
        """Forget all records. Returns their waiters, who have to be told."""
        return self.take(sys.maxsize).waiters

    def drop_modest(self, *, copies_only: bool = False) -> list[Waiter | None]:
        """Forget the records that give way (`copies`). Returns their waiters, who have to be
        told."""
        return self.drop_some(
            lambda waiter: isinstance(waiter, Modest) and (waiter.is_copy or not copies_only)
        )

    def drop_some(self, which: Callable[[Waiter | None], bool]) -> list[Waiter | None]:
        """Forget the records of these waiters, none of a unit. Returns them, who have to be
        told."""
        all_ = self.take(sys.maxsize)
        dropped: list[Waiter | None] = []
        for payload, waiter in zip(all_.payloads, all_.waiters, strict=True):
            if which(waiter):
                dropped.append(waiter)
            else:
                self.add(payload, waiter)
        return dropped


class Waiting:
    """Records that are not handed to the log yet: urgent ones, and `normal` ones that can be
    refused."""

    __slots__ = ("normal", "urgent")

    def __init__(self) -> None:
        self.normal = Records()
        self.urgent = Records()

    @property
    def size_bytes(self) -> int:
        """What all of them take in the log."""
        return self.normal.size_bytes + self.urgent.size_bytes

    def take(self, most_bytes: int) -> tuple[Records, Records]:
        """Split off the next batch: urgent records, and others as far as there is room for them.
        Nothing may be so large that no batch can hold it; if a record is, it is a batch of its own,
        which the log refuses, and nobody waits behind it for ever."""
        urgent = self.urgent.take(most_bytes)
        if not urgent.payloads and self.urgent.payloads:
            return self.urgent.take_first(), urgent
        normal = self.normal.take(most_bytes - urgent.size_bytes)
        if not (urgent.payloads or normal.payloads) and self.normal.payloads:
            return urgent, self.normal.take_first()
        return urgent, normal

    def drop(self) -> list[Waiter | None]:
        """Forget all records. Returns their waiters, who have to be told."""
        return self.urgent.drop() + self.normal.drop()


def _is_inside(waiter: Waiter | None) -> bool:
    """Whether a record belongs to the same unit as the one before it."""
    return isinstance(waiter, Part) and not waiter.is_first
