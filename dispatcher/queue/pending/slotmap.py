"""A map from ids to slots for messages that were copied forward, in arrays.

A message that still lies where it was first stored is found through its extent. One that moved is
not, and a dict would cost it some 150 bytes; this costs about 12. Open addressing with linear
probing (Knuth, TAOCP 3, §6.4, algorithm L), cut into 256 tables so that growing one stops nothing.
"""

from __future__ import annotations

from array import array
from typing import Protocol

from dispatcher.queue.pending.index import NO_SLOT

_TABLES = 256
_GONE = NO_SLOT - 1
_FIRST_SIZE = 8


class _Table:
    __slots__ = ("cells", "live", "used")

    def __init__(self, size: int) -> None:
        self.cells = array("I", [NO_SLOT]) * size
        self.used = 0  # cells that are not empty
        self.live = 0  # cells that hold a slot


class Keyed(Protocol):
    """Whatever has an id for each slot: a position, and the incarnation it counts in (or a number
    for that)."""

    id_position: array[int]
    incarnation: array[int]


class SlotMap:
    """Slots by the id that an index has for them."""

    __slots__ = ("_index", "_tables", "count")

    def __init__(self, index: Keyed) -> None:
        self._index = index
        self._tables = [_Table(_FIRST_SIZE) for _ in range(_TABLES)]
        self.count = 0

    def find(self, position: int, incarnation: int) -> int:
        """The slot entered for an id, or -1."""
        mixed = _mix(position, incarnation)
        cells = self._tables[mixed % _TABLES].cells
        mask = len(cells) - 1
        at = mixed >> 8 & mask
        ids, incarnations = self._index.id_position, self._index.incarnation
        while (slot := cells[at]) != NO_SLOT:
            if slot != _GONE and ids[slot] == position and incarnations[slot] == incarnation:
                return slot
            at = at + 1 & mask
        return -1

    def add(self, slot: int) -> None:
        """Enter a slot under its id, where it is not entered yet."""
        position, incarnation = self._index.id_position[slot], self._index.incarnation[slot]
        if self.find(position, incarnation) < 0:
            self.put(slot)

    def put(self, slot: int) -> None:
        """Enter a slot under its id, which is certainly not entered yet."""
        mixed = _mix(self._index.id_position[slot], self._index.incarnation[slot])
        table = self._tables[mixed % _TABLES]
        if (table.used + 1) * 3 > len(table.cells) * 2:
            table = self._grow(mixed % _TABLES)
        _enter(table, mixed, slot)
        self.count += 1

    def fill(self, slots: range) -> None:
        """Enter these slots in a map that is empty. Faster than one by one."""
        size = _FIRST_SIZE
        while size * _TABLES < len(slots) * 2:  # some tables get more than others, and grow
            size *= 2
        self._tables = [_Table(size) for _ in range(_TABLES)]
        ids, incarnations = self._index.id_position, self._index.incarnation
        for slot in slots:
            mixed = _mix(ids[slot], incarnations[slot])
            table = self._tables[mixed % _TABLES]
            if (table.used + 1) * 3 > len(table.cells) * 2:
                table = self._grow(mixed % _TABLES)
            _enter(table, mixed, slot)
        self.count = len(slots)

    def discard(self, slot: int) -> None:
        """Take a slot out, before the index frees it. Nothing happens when it is not in."""
        mixed = _mix(self._index.id_position[slot], self._index.incarnation[slot])
        table = self._tables[mixed % _TABLES]
        cells = table.cells
        mask = len(cells) - 1
        at = mixed >> 8 & mask
        while (found := cells[at]) != NO_SLOT:
            if found == slot:
                cells[at] = _GONE
                table.live -= 1
                self.count -= 1
                return
            at = at + 1 & mask

    def replace(self, slot: int, by: int) -> None:
        """Enter another slot, with the same id, in the place of this one."""
        mixed = _mix(self._index.id_position[slot], self._index.incarnation[slot])
        cells = self._tables[mixed % _TABLES].cells
        mask = len(cells) - 1
        at = mixed >> 8 & mask
        while cells[at] != slot:
            if cells[at] == NO_SLOT:
                return
            at = at + 1 & mask
        cells[at] = by

    def shrink(self) -> None:
        """Give the memory of tables back that have grown much too large: they grow again from the
        next slot that is added to them."""
        for table in self._tables:
            if len(table.cells) > max(_FIRST_SIZE, table.live * 8):
                table.used = len(table.cells)

    def _grow(self, number: int) -> _Table:
        old = self._tables[number]
        size = _FIRST_SIZE
        while size < old.live * 3:
            size *= 2
        table = self._tables[number] = _Table(size)
        ids, incarnations = self._index.id_position, self._index.incarnation
        for slot in old.cells:
            if slot < _GONE:
                _enter(table, _mix(ids[slot], incarnations[slot]), slot)
        return table


def _enter(table: _Table, mixed: int, slot: int) -> None:
    cells = table.cells
    mask = len(cells) - 1
    at = mixed >> 8 & mask
    while cells[at] != NO_SLOT:
        at = at + 1 & mask
    cells[at] = slot
    table.used += 1
    table.live += 1


def _mix(position: int, incarnation: int) -> int:
    """Spread positions, which are multiples of nothing in particular but close together (Fibonacci
    hashing); those of another incarnation may be the same."""
    return ((position ^ incarnation << 40) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 24
