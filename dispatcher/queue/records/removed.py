"""REMOVED records: dead letters that are gone, one in a record or many.

    REMOVED       one letter
    REMOVED_MANY  any number, packed: what frees a full disk must itself take little space

REMOVED_MANY is its kind and then groups of letters with the same partition, incarnation and number
of redrives: these three, how many letters there are (u32), and their id positions (`packing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.packing import pack_positions, unpack_positions

# kind, partition, incarnation, id position, redrives
_REMOVED: Final = Struct("<BHIQH")
# partition, incarnation, redrives, count
_GROUP: Final = Struct("<HIHI")


class Removal(NamedTuple):
    """A dead letter that is gone: the one with this id that died for the `redrives`-th time, and
    those before it."""

    message_id: bytes
    redrives: int


def encode_removals(removals: Iterable[Removal]) -> bytes:
    """A payload for these letters, at least one: a REMOVED or a REMOVED_MANY record."""
    groups: dict[tuple[int, int, int], list[int]] = {}
    for message_id, redrives in removals:
        key = (int(message_id[:4], 16), int(message_id[4:12], 16), redrives)
        groups.setdefault(key, []).append(int(message_id[12:], 16))
    if len(groups) == 1:
        ((partition, incarnation, redrives), positions) = next(iter(groups.items()))
        if len(positions) == 1:
            return encode_removed(partition, incarnation, positions[0], redrives)
    payload = bytearray([Kind.REMOVED_MANY])
    for (partition, incarnation, redrives), positions in groups.items():
        payload += _GROUP.pack(partition, incarnation, redrives, len(positions))
        pack_positions(payload, sorted(positions))
    return bytes(payload)


def decode_removals(payload: bytes) -> Iterator[Removal]:
    """The letters of a REMOVED or a REMOVED_MANY payload."""
    if payload[0] == Kind.REMOVED:
        partition, incarnation, position, redrives = decode_removed(payload)
        yield Removal(wire_id(partition, incarnation, position), redrives)
        return
    at = 1
    while at < len(payload):
        partition, incarnation, redrives, count = _GROUP.unpack_from(payload, at)
        positions, at = unpack_positions(payload, at + _GROUP.size, count)
        for position in positions:
            yield Removal(wire_id(partition, incarnation, position), redrives)


def encode_removed(partition: int, incarnation: int, position: int, redrives: int) -> bytes:
    """A REMOVED payload: the dead letter with this id, dead for the `redrives`-th time, is gone."""
    return _REMOVED.pack(Kind.REMOVED, partition, incarnation, position, redrives)


def decode_removed(payload: bytes) -> tuple[int, int, int, int]:
    """Partition, incarnation, id position and redrives of a REMOVED payload."""
    _, partition, incarnation, position, redrives = _REMOVED.unpack(payload)
    return partition, incarnation, position, redrives
