"""How much waits to be delivered in a process: MAX_BACKLOG_BYTES bounds what its partitions hold
together."""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    """A partition, as far as it counts here."""

    @property
    def held_bytes(self) -> int:
        """Bytes of its log that are of messages which wait, or are about to."""


class Backlog:
    """The partitions that accept messages."""

    __slots__ = ("_holders",)

    def __init__(self) -> None:
        self._holders: list[Holder] = []

    def join(self, holder: Holder) -> None:
        """A partition has begun."""
        self._holders.append(holder)

    def leave(self, holder: Holder) -> None:
        """It has ended. Idempotent."""
        if holder in self._holders:
            self._holders.remove(holder)

    @property
    def size_bytes(self) -> int:
        """What all of them hold."""
        size_bytes = 0
        for holder in self._holders:
            size_bytes += holder.held_bytes
        return size_bytes
