"""Many positions in few bytes, for records that must take little space.

Positions in ascending order, each as its distance to the one before it (the first: to 0) in 7 bits
a byte, lowest first, with bit 7 set in all but the last byte. Messages that were stored one after
the other take 1 to 3 bytes each.
"""

from __future__ import annotations

from collections.abc import Iterable


def pack_positions(payload: bytearray, positions: Iterable[int]) -> None:
    """Append positions, which must ascend, to a payload."""
    append = payload.append
    before = 0
    for position in positions:
        distance = position - before
        before = position
        while distance > 0x7F:
            append(distance & 0x7F | 0x80)
            distance >>= 7
        append(distance)


def unpack_positions(payload: bytes, at: int, count: int | None = None) -> tuple[list[int], int]:
    """So many positions that `pack_positions` appended at `at` (None: to the end of the payload),
    and where they end."""
    positions: list[int] = []
    end = len(payload)
    position = 0
    while at < end and len(positions) != count:
        shift = 0
        while (byte := payload[at]) > 0x7F:
            position += (byte & 0x7F) << shift
            shift += 7
            at += 1
        position += byte << shift
        at += 1
        positions.append(position)
    return positions, at
