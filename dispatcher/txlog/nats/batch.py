"""The bytes of a stream's messages: batches of records, and fences. Pure; FORMAT.md has the tables.

A message is whole or not there, so a batch is atomic by itself. Its checksum is over all of it;
each record has one more, for the reader that fetches a single one, over its place in the message
and its length too: bytes that look like a record elsewhere are none.

To change it: give the kind another version, keep reading the one before, add a file of the new one
to `tests/golden` and change no older one, and say in FORMAT.md that older servers do not open the
log.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import google_crc32c

from dispatcher.txlog.records import Records

BATCH: Final = 1
FENCE: Final = 129
"""Versions of the two kinds of message; a fence's has bit 7 set."""

OFFSET_BITS: Final = 20
MOST_BYTES: Final = 1 << OFFSET_BITS
"""A message is smaller, so that a place in it fits into a position."""

_HEAD: Final = struct.Struct("<BI")
_BATCH: Final = struct.Struct("<QQI")
_FENCE: Final = struct.Struct("<QQI")
_RECORD: Final = struct.Struct("<II")
_PLACE: Final = struct.Struct("<II")

BATCH_HEADER_BYTES: Final = _HEAD.size + _BATCH.size
RECORD_HEADER_BYTES: Final = _RECORD.size


@dataclass(frozen=True, slots=True)
class Batch:
    """Records `begins[n] : ends[n]` of the message, stored as the `number`-th batch of the owner
    that drew `token`."""

    token: int
    number: int
    begins: list[int]
    ends: list[int]


@dataclass(frozen=True, slots=True)
class Fence:
    """From here on only the owner that drew `token`, for this epoch, stores anything."""

    token: int
    epoch: int
    owner: str


def position_of(sequence: int, offset: int) -> int:
    """Return the position of the record at an offset of a message."""
    return sequence << OFFSET_BITS | offset


def sequence_of(position: int) -> int:
    """Return the number of the message that a position is in."""
    return position >> OFFSET_BITS


def offset_of(position: int) -> int:
    """Return the offset of a position in its message."""
    return position & (MOST_BYTES - 1)


def encode_batch(token: int, number: int, payloads: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Return the bytes of a batch and the offsets of its records."""
    parts = [_BATCH.pack(token, number, len(payloads))]
    offsets: list[int] = []
    at = BATCH_HEADER_BYTES
    for payload in payloads:
        size = len(payload)
        offsets.append(at)
        parts += (_RECORD.pack(size, _crc_of(at, payload)), payload)
        at += RECORD_HEADER_BYTES + size
    rest = b"".join(parts)
    return _HEAD.pack(BATCH, google_crc32c.value(rest)) + rest, offsets


def encode_fence(fence: Fence) -> bytes:
    """Return the bytes of a fence."""
    owner = fence.owner.encode()
    rest = _FENCE.pack(fence.token, fence.epoch, len(owner)) + owner
    return _HEAD.pack(FENCE, google_crc32c.value(rest)) + rest


def decode(data: bytes) -> Batch | Fence | str:
    """Return what a message holds, verified as a whole, or in words what is wrong with it."""
    if len(data) < _HEAD.size:
        return "it is too short"
    version, crc = _HEAD.unpack_from(data)
    if version not in {BATCH, FENCE}:
        return f"format version {version} is not known"
    rest = data[_HEAD.size :]
    if google_crc32c.value(rest) != crc:
        return "its checksum does not fit"
    try:
        return _batch(data) if version == BATCH else _fence(rest)
    except (struct.error, UnicodeDecodeError):
        return "it ends too early"


def _batch(data: bytes) -> Batch | str:
    token, number, count = _BATCH.unpack_from(data, _HEAD.size)
    begins: list[int] = []
    ends: list[int] = []
    at = BATCH_HEADER_BYTES
    for _ in range(count):
        size, _ = _RECORD.unpack_from(data, at)
        begins.append(at + RECORD_HEADER_BYTES)
        at += RECORD_HEADER_BYTES + size
        ends.append(at)
    if at != len(data):
        return "its records do not fill it"
    return Batch(token, number, begins, ends)


def _fence(rest: bytes) -> Fence | str:
    token, epoch, size = _FENCE.unpack_from(rest)
    owner = rest[_FENCE.size :]
    return Fence(token, epoch, owner.decode()) if len(owner) == size else "it ends too early"


def records_of(sequence: int, batch: Batch, data: bytes) -> Records:
    """Return a batch's records with their positions."""
    origin = position_of(sequence, 0) - RECORD_HEADER_BYTES
    return Records(data, origin, batch.begins, batch.ends)


def record_end(data: bytes, at: int) -> int | None:
    """Return where a record would end whose header is at `data[at:]`; None: that is not there."""
    if at + RECORD_HEADER_BYTES > len(data):
        return None
    size, _ = _RECORD.unpack_from(data, at)
    return at + RECORD_HEADER_BYTES + int(size)


def record_in(data: bytes, at: int, offset: int) -> bytes | None:
    """Return the payload of the record whose header is at `data[at:]`, and at `offset` of its
    message; None: there is no intact record."""
    end = record_end(data, at)
    if end is None or end > len(data):
        return None
    _, crc = _RECORD.unpack_from(data, at)
    payload = data[at + RECORD_HEADER_BYTES : end]
    return payload if _crc_of(offset, payload) == crc else None


def _crc_of(offset: int, payload: bytes) -> int:
    seed = google_crc32c.value(_PLACE.pack(offset, len(payload)))
    return int(google_crc32c.extend(seed, payload))
