"""Owned records: what a slot needs in the log besides its message's own record.

Today they are the chunks of a large body. Whatever it is, the rules are the same: the records are
held as long as the slot is pending, they are copied forward together with its message, and who was
given their old places while an attempt is under way still finds them. The extents they lie in name
the slot: its own record may be far away, and compaction finds it by them. A slot may own more later
than it did at first; what copies records forward (`compaction.large`) and what recovery finds them
by (the end of a MESSAGE) know chunks only.
"""

from __future__ import annotations

from array import array

from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.pending.index import Index, State
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.kinds import OVERHEAD_BYTES


class Owned:
    """The owned records of all slots that have some.

    `by_slot`    their positions, in the order in which they were added, and the bytes of data in
                 all of them together.
    `relocated`  where records are now that were copied while somebody had their old places.
    """

    __slots__ = ("_extents", "_index", "_left", "_sizes", "by_slot", "relocated")

    def __init__(self, index: Index, extents: Extents) -> None:
        self._index = index
        self._extents = extents
        self.by_slot: dict[int, tuple[array[int], int]] = {}
        self._sizes: dict[int, array[int]] = {}  # what each of them takes in the log
        self.relocated: dict[int, int] = {}
        self._left: dict[int, list[int]] = {}  # keys of `relocated`, by slot

    def __contains__(self, slot: int) -> bool:
        return slot in self.by_slot

    def positions(self, slot: int) -> array[int]:
        """Where the records of a slot that has some are, in order."""
        return self.by_slot[slot][0]

    def own(self, slot: int, positions: array[int], data_bytes: int) -> None:
        """The records at these positions, with so many bytes of data in all of them, are needed as
        long as the slot is, besides those that it has already."""
        sizes = array("I", [size for _, size in owned_sizes(positions, data_bytes)])
        self._hold(slot, positions, sizes)
        had = self.by_slot.get(slot)
        if had is not None:  # not changed in place: somebody may be reading it
            positions, data_bytes = had[0] + positions, had[1] + data_bytes
            sizes = self._sizes[slot] + sizes
        self.by_slot[slot] = (positions, data_bytes)
        self._sizes[slot] = sizes

    def disown(self, slot: int) -> None:
        """The records of the slot are not needed any more."""
        positions, _ = self.by_slot.pop(slot)
        self._release(slot, positions, self._sizes.pop(slot))

    def move(self, slot: int, positions: array[int]) -> None:
        """All records of the slot were copied, in order. An attempt that is under way still asks
        for the old positions, until it has ended."""
        old, data_bytes = self.by_slot[slot]
        if self._index.state[slot] in (State.IN_FLIGHT, State.BURYING):
            self.relocated.update(zip(old, positions, strict=True))
            self._left.setdefault(slot, []).extend(old)
        self._release(slot, old, self._sizes[slot])
        self._hold(slot, positions, self._sizes[slot])
        self.by_slot[slot] = (positions, data_bytes)

    def _hold(self, slot: int, positions: array[int], sizes: array[int]) -> None:
        for position, size in zip(positions, sizes, strict=True):
            self._extents.hold(position, size, slot)
            self._index.live_bytes += size

    def _release(self, slot: int, positions: array[int], sizes: array[int]) -> None:
        for position, size in zip(positions, sizes, strict=True):
            self._extents.release(position, size, slot)
            self._index.live_bytes -= size

    def where(self, position: int) -> int:
        """Where a record is now that was at `position`."""
        while position in self.relocated:
            position = self.relocated[position]
        return position

    def forget_left(self, slot: int) -> None:
        """No attempt is under way any more that could ask for old positions."""
        for position in self._left.pop(slot, ()):
            del self.relocated[position]


def owned_sizes(positions: array[int], data_bytes: int) -> list[tuple[int, int]]:
    """Position and size in the log of each record: all are full chunks but the last.

    Where a body came in smaller pieces the sizes are a guess, with the right sum.
    """
    before_last = len(positions) - 1
    full = CHUNK_BYTES if CHUNK_BYTES * before_last <= data_bytes else data_bytes // len(positions)
    sizes = [(position, full + OVERHEAD_BYTES) for position in positions]
    sizes[-1] = (positions[-1], data_bytes - full * before_last + OVERHEAD_BYTES)
    return sizes
