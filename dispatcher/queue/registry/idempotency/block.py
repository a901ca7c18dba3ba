"""Entries of idempotency keys that came together, in one block, and how each is stored in it."""

from __future__ import annotations

from array import array
from struct import Struct
from typing import Final, NamedTuple

from dispatcher.core.idempotency import HASH_BYTES
from dispatcher.queue.pending.extents import Extent

# hash, print, incarnation, tick of the 202, flags
ENTRY: Final = Struct("<12sQIIB")
ENTRY_BYTES: Final = ENTRY.size
_INCARNATION: Final = Struct("<I")
HASHED: Final = Struct(f"<Q{HASH_BYTES - 8}x")
_INCARNATION_AT: Final = HASH_BYTES + 8
FLAGS_AT: Final = ENTRY_BYTES - 1
GONE: Final = 1
UNDELIVERED: Final = 2


class Entry(NamedTuple):
    """A key that stands for a message.

    `hashed`         of destination and key.
    `print`          of what was asked for: see `prints`.
    `position`, `incarnation`   with the partition, the message's id.
    `at_us`          when its window began, by the queue's clock, a tick or less too late.
    `undelivered`    its message was given up or cancelled: the key is free when nothing is left of
                     that.
    """

    hashed: bytes
    print: int
    position: int
    incarnation: int
    at_us: int
    undelivered: bool


class Run:
    """Entries of a block that are side by side, and whose records are in one extent; `live` of them
    are needed."""

    __slots__ = ("end", "extent", "first", "live")

    def __init__(self, extent: Extent, first: int) -> None:
        self.extent = extent
        self.first = first
        self.end = first
        self.live = 0


class Block:
    """Entries that came together, from `begun_us` on; the window of the last one begins at
    `last_us`. `positions` are those of their ids, which ascend unless these are strays."""

    __slots__ = ("are_strays", "begun_us", "data", "last_us", "number", "positions", "runs")

    def __init__(self, number: int, begun_us: int, *, are_strays: bool) -> None:
        self.number = number
        self.are_strays = are_strays
        self.positions = array("Q")
        self.data = bytearray()
        self.runs: list[Run] = []
        self.begun_us = begun_us
        self.last_us = 0

    @property
    def count(self) -> int:
        """Entries that were ever put here."""
        return len(self.positions)


def incarnation_at(block: Block, offset: int) -> int:
    """The incarnation of the message that an entry stands for."""
    return int(_INCARNATION.unpack_from(block.data, offset * ENTRY_BYTES + _INCARNATION_AT)[0])
