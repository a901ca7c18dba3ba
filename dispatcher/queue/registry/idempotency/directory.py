"""From the hash of something to the numbers of entries that may be it, in arrays.

Open addressing with linear probing (Knuth, TAOCP 3, §6.4, algorithm L), cut into small tables as in
extendible hashing (Fagin et al., 1979): a table that is full is made again with twice the room, and
one that has the most room it may have is split in two by one more bit of the hash. So growing never
stops the loop for longer than making one small table takes. A number costs 6 to 12 bytes.

Entries are not taken out. Those that are gone are left out when their table is made again: when it
is full, or one by one after a burst (`tidy`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final

NOWHERE: Final = -1
_EMPTY: Final = 0xFFFFFFFF
_LEAST_CELLS: Final = 8
_MOST_CELLS = 1024
_ROOMY: Final = 8
"""Cells for each entry that are far too many. Where entries come and go there are four at most."""
_SHIFT: Final = 24
"""Bits of a hash that choose its table; those above choose the cell in it."""


class _Table:
    """`depth` bits of the hash are the same in all of it; `used` cells are not empty."""

    __slots__ = ("cells", "depth", "used")

    def __init__(self, size: int, depth: int) -> None:
        self.cells = array("I", [_EMPTY]) * size
        self.depth = depth
        self.used = 0


class Directory:
    """Numbers by hashes. `hash_of` gives the hash (at least 0) of the entry with a number, or
    `NOWHERE` when it is gone."""

    __slots__ = ("_bits", "_cells", "_hash_of", "_tables", "_turn")

    def __init__(self, hash_of: Callable[[int], int]) -> None:
        self._hash_of = hash_of
        self.clear()

    def clear(self) -> None:
        """Forget all of them, and give the memory back."""
        self._bits = 0
        self._cells = _LEAST_CELLS
        self._turn = 0
        self._tables = [_Table(_LEAST_CELLS, 0)]

    def find(self, hashed: int) -> list[int]:
        """Numbers of the entries that may have this hash, few; those of other hashes and of what is
        gone may be among them."""
        cells = self._tables[hashed & (1 << self._bits) - 1].cells
        mask = len(cells) - 1
        at = hashed >> _SHIFT & mask
        found = []
        while (number := cells[at]) != _EMPTY:
            found.append(number)
            at = at + 1 & mask
        return found

    def add(self, hashed: int, number: int) -> None:
        """Enter an entry, whose hash is known to `hash_of` by now."""
        table = self._tables[hashed & (1 << self._bits) - 1]
        if (table.used + 1) * 3 > len(table.cells) * 2:
            self._make_room(hashed)
            table = self._tables[hashed & (1 << self._bits) - 1]
        _enter(table, hashed, number)

    def tidy(self, live: int) -> bool:
        """Make one table again, each in its turn, where there is far more room than so many entries
        need; whether that was so."""
        if self._cells < _ROOMY * max(live, _MOST_CELLS):
            return False
        self._turn = (self._turn + 1) % len(self._tables)
        self._make_room(self._turn)
        return True

    def _make_room(self, hashed: int) -> None:
        first = hashed & (1 << self._bits) - 1
        old = self._tables[first]
        entries = []
        for number in old.cells:
            if number != _EMPTY and (of := self._hash_of(number)) >= 0:
                entries.append((of, number))
        depth = old.depth
        first &= (1 << depth) - 1
        if len(entries) * 2 <= _MOST_CELLS or depth >= _SHIFT:
            tables = [_made(entries, depth)]
        else:
            if depth == self._bits:
                self._tables += self._tables
                self._bits += 1
            low = [entry for entry in entries if not entry[0] >> depth & 1]
            high = [entry for entry in entries if entry[0] >> depth & 1]
            tables = [_made(low, depth + 1), _made(high, depth + 1)]
        self._cells += sum(len(table.cells) for table in tables) - len(old.cells)
        for at in range(first, len(self._tables), 1 << depth):
            self._tables[at] = tables[at >> depth & len(tables) - 1]


def _made(entries: list[tuple[int, int]], depth: int) -> _Table:
    size = _LEAST_CELLS
    while size < len(entries) * 2:
        size *= 2
    table = _Table(size, depth)
    for hashed, number in entries:
        _enter(table, hashed, number)
    return table


def _enter(table: _Table, hashed: int, number: int) -> None:
    cells = table.cells
    mask = len(cells) - 1
    at = hashed >> _SHIFT & mask
    while cells[at] != _EMPTY:
        at = at + 1 & mask
    cells[at] = number
    table.used += 1
