"""SETTLED records: messages that are done.

SETTLED         incarnation, then id positions (u64 each) of messages with this incarnation
SETTLED_PACKED  the same, the positions packed (`packing`)
SETTLED_V1      positions alone
"""

from __future__ import annotations

from array import array
from struct import Struct
from typing import Final

from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.packing import pack_positions, unpack_positions

# kind, incarnation (of all that follow)
_SETTLED: Final = Struct("<BI")


def encode_settled(incarnation: int, positions: array[int]) -> bytes:
    """A SETTLED payload for messages of one incarnation with these id positions (an
    `array("Q")`)."""
    return _SETTLED.pack(Kind.SETTLED, incarnation) + positions.tobytes()


def encode_settled_packed(incarnation: int, positions: array[int]) -> bytes:
    """The same in as few bytes as it takes: a SETTLED_PACKED payload. Takes half a microsecond for
    each message."""
    payload = bytearray(_SETTLED.pack(Kind.SETTLED_PACKED, incarnation))
    pack_positions(payload, sorted(positions))
    return bytes(payload)


def decode_settled(payload: bytes) -> tuple[int | None, array[int]]:
    """Incarnation (None: version 1) and id positions of a SETTLED or SETTLED_PACKED payload."""
    if payload[0] == Kind.SETTLED_PACKED:
        _, incarnation = _SETTLED.unpack_from(payload)
        return incarnation, array("Q", unpack_positions(payload, _SETTLED.size)[0])
    if payload[0] == Kind.SETTLED_V1:
        return None, array("Q", payload[1:])
    _, incarnation = _SETTLED.unpack_from(payload)
    return incarnation, array("Q", payload[_SETTLED.size :])
