"""Names of messages that ended, until they are written down."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final

MOST_AT_ONCE: Final = 16_384
PACKED_AT_ONCE: Final = 4096
"""2 ms of packing."""

Encode = Callable[[int, "array[int]"], bytes]
"""Makes a record of an incarnation and id positions."""


class Names:
    """Names by the incarnation of the process that accepted the messages; nearly all are of this
    one. `encode` makes the records, `encode_packed` those for a disk that is full."""

    __slots__ = (
        "_by_incarnation",
        "_encode",
        "_encode_packed",
        "_incarnation",
        "_most",
        "_positions",
    )

    def __init__(
        self, encode: Encode, encode_packed: Encode, *, most_at_once: int = MOST_AT_ONCE
    ) -> None:
        """A record of `encode` has so many names at most."""
        self._encode = encode
        self._encode_packed = encode_packed
        self._most = most_at_once
        self._by_incarnation: dict[int, array[int]] = {}
        self._incarnation = -1
        self._positions = array("Q")  # those of `_incarnation`

    @property
    def is_empty(self) -> bool:
        """There are none."""
        return not self._by_incarnation

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self._by_incarnation.values()))

    def add(self, incarnation: int, id_position: int) -> None:
        """One more."""
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._positions = self._by_incarnation.setdefault(incarnation, array("Q"))
        self._positions.append(id_position)

    def take(self) -> list[bytes]:
        """The records of all of them, and none are left."""
        taken, self._by_incarnation, self._incarnation = self._by_incarnation, {}, -1
        return [
            self._encode(incarnation, positions[start : start + self._most])
            for incarnation, positions in taken.items()
            for start in range(0, len(positions), self._most)
        ]

    def take_packed(self) -> bytes:
        """A record of some of them, at least one, in as few bytes as it takes."""
        incarnation, positions = next(iter(self._by_incarnation.items()))
        payload = self._encode_packed(incarnation, positions[:PACKED_AT_ONCE])
        del positions[:PACKED_AT_ONCE]
        if not positions:
            del self._by_incarnation[incarnation]
            self._incarnation = -1
        return payload
