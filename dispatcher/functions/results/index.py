"""Where results are: one slot for each, in arrays, and a map from keys to slots.

About 60 bytes a result, where a dict of integers would take 200. A slot that was freed is used
again.
"""

from __future__ import annotations

from array import array

from dispatcher.queue.pending.slotmap import SlotMap

_MOST_SECONDS = 0xFFFFFFFF


class Index:
    """The slots.

    `id_position`, `incarnation`  number and incarnation of the call's key (names: `SlotMap`'s).
    `position`   of its RESULT record; `sizes` what that takes in the log, chunks apart.
    `ended_s`    seconds since the epoch, by the wall clock.
    """

    __slots__ = (
        "_free",
        "_map",
        "count",
        "ended_s",
        "id_position",
        "incarnation",
        "position",
        "sizes",
    )

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.id_position = array("Q")
        self.incarnation = array("I")
        self.position = array("Q")
        self.sizes = array("I")
        self.ended_s = array("I")
        self.count = 0
        self._free = array("I")
        self._map = SlotMap(self)

    def __len__(self) -> int:
        return self.count

    def find(self, incarnation: int, number: int) -> int:
        """The slot of a call's result, or -1."""
        return self._map.find(number, incarnation)

    def add(self, incarnation: int, number: int, *, position: int, size: int, ended_us: int) -> int:
        """Enter a result of a call that has none here; returns its slot."""
        ended_s = min(max(ended_us // 1_000_000, 0), _MOST_SECONDS)
        if self._free:
            slot = self._free.pop()
            self.id_position[slot] = number
            self.incarnation[slot] = incarnation
            self.position[slot] = position
            self.sizes[slot] = size
            self.ended_s[slot] = ended_s
        else:
            slot = len(self.position)
            self.id_position.append(number)
            self.incarnation.append(incarnation)
            self.position.append(position)
            self.sizes.append(size)
            self.ended_s.append(ended_s)
        self._map.put(slot)
        self.count += 1
        return slot

    def remove(self, slot: int) -> None:
        """Forget a result. With the last one the memory of all is given back."""
        self._map.discard(slot)
        self.count -= 1
        if not self.count:
            self._reset()
            return
        self.position[slot] = 0  # no record has it: what still names the slot finds another
        self._free.append(slot)
