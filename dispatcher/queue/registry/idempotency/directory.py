"""From the hash of something to the numbers of entries that may be it, in arrays.

A cell is a hash and a number in 64 bits. All cells are sorted, and cut into leaves, each an array,
as in a B-tree of two levels: what finds and enters a cell (`bisect`, `array.insert`) is one call
each, of which none looks at other entries, and a leaf that is full is cut in the middle. So a
million are entered in a second, growing never stops the loop, and a cell costs 8 to 9 bytes.

Entries are not taken out. Those that are gone are left out when their leaf is full, or leaf by leaf
after a burst (`tidy`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from typing import Final

NOWHERE: Final = -1
HASH_BITS: Final = 32
_NUMBER_BITS: Final = 32
_NUMBER: Final = (1 << _NUMBER_BITS) - 1
_MOST_CELLS = 1024
_ROOMY: Final = 4
"""Cells for each entry that are far too many. Where entries come and go there are two at most."""


class Directory:
    """Numbers by hashes of `HASH_BITS`. `is_gone` says of a number whether its entry is."""

    __slots__ = ("_cells", "_is_gone", "_leaves", "_lows", "_turn")

    def __init__(self, is_gone: Callable[[int], bool]) -> None:
        self._is_gone = is_gone
        self.clear()

    def clear(self) -> None:
        """Forget all of them, and give the memory back."""
        self._cells = 0
        self._turn = 0
        self._lows = [0]  # of each leaf, the hash of its first cell or less, as a cell
        self._leaves = [array("Q")]

    def find(self, hashed: int) -> list[int]:
        """Numbers of the entries that may have this hash, few; those of what is gone may be among
        them."""
        low = hashed << _NUMBER_BITS
        leaf = self._leaves[bisect_right(self._lows, low) - 1]
        at, count = bisect_left(leaf, low), len(leaf)
        found: list[int] = []
        while at < count and leaf[at] >> _NUMBER_BITS == hashed:
            found.append(leaf[at] & _NUMBER)
            at += 1
        return found

    def add(self, hashed: int, number: int, live: int) -> None:
        """Enter an entry; `live` entries are not gone by now, this one included."""
        cell = hashed << _NUMBER_BITS | number
        at = bisect_right(self._lows, cell) - 1
        insort(self._leaves[at], cell)
        self._cells += 1
        if len(self._leaves[at]) >= _MOST_CELLS:
            self._make_room(at, live)

    def add_all(self, hashes: list[int], first: int, live: int) -> list[int]:
        """Do what `add` does for entries that are numbered from `first` on. Those for whose hashes
        something is there already are not entered, and returned."""
        lows, leaves = self._lows, self._leaves
        left: list[int] = []
        for number, hashed in enumerate(hashes, first):
            low = hashed << _NUMBER_BITS
            at = bisect_right(lows, low) - 1
            leaf = leaves[at]
            place = bisect_left(leaf, low)
            if place < len(leaf) and leaf[place] >> _NUMBER_BITS == hashed:
                left.append(number)
                continue
            leaf.insert(place, low | number)
            self._cells += 1
            if len(leaf) >= _MOST_CELLS:
                self._make_room(at, live)
        return left

    def _make_room(self, at: int, live: int) -> None:
        if self._cells > live:
            self._clean(at)
        if len(self._leaves[at]) * 2 > _MOST_CELLS:
            self._cut(at)

    def _clean(self, at: int) -> None:
        leaf, is_gone = self._leaves[at], self._is_gone
        kept = array("Q", [cell for cell in leaf if not is_gone(cell & _NUMBER)])
        self._cells -= len(leaf) - len(kept)
        self._leaves[at] = kept

    def _cut(self, at: int) -> None:
        """Make two leaves of one; cells of one hash stay together."""
        leaf = self._leaves[at]
        low = leaf[len(leaf) // 2] >> _NUMBER_BITS << _NUMBER_BITS
        middle = bisect_left(leaf, low)
        if middle:
            self._leaves[at : at + 1] = [leaf[:middle], leaf[middle:]]
            self._lows.insert(at + 1, low)

    def tidy(self, live: int) -> bool:
        """Clean one leaf, each in its turn, and join the next one to it where both are small, when
        there are far more cells than so many entries need; whether that was so."""
        if self._cells < _ROOMY * max(live, _MOST_CELLS):
            return False
        at = self._turn = (self._turn + 1) % len(self._leaves)
        self._clean(at)
        if at and (len(self._leaves[at - 1]) + len(self._leaves[at])) * 4 <= _MOST_CELLS:
            self._leaves[at - 1 : at + 1] = [self._leaves[at - 1] + self._leaves[at]]
            del self._lows[at]
            self._turn -= 1
        return True
