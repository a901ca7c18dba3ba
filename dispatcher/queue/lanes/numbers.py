"""One small number for each slot, where it has any: 4 bytes for each up to the last that has."""

from __future__ import annotations

from array import array


class SlotNumbers:
    """Numbers of slots, from 0 to 2**32 - 1; 0 where none was set."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = array("I")

    def __getitem__(self, slot: int) -> int:
        numbers = self._numbers
        return numbers[slot] if slot < len(numbers) else 0

    def __setitem__(self, slot: int, number: int) -> None:
        """Set the number of a slot; the array grows with the slots that are used."""
        if slot >= len(self._numbers):
            self.make_room(slot)
        self._numbers[slot] = number

    def make_room(self, slot: int) -> None:
        """Numbers of slots up to this one are about to be set: the array grows once for them."""
        missing = slot + 1 - len(self._numbers)
        if missing > 0:
            self._numbers.frombytes(bytes(missing * self._numbers.itemsize))

    def clear(self) -> None:
        """Forget all, and give memory back."""
        self._numbers = array("I")
