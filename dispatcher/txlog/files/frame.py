"""The frames of a segment: how records become bytes, and how bytes are believed again. Pure.

A frame is a header of 32 bytes and a payload; numbers are little endian:

    offset  size  field
         0     4  crc           CRC-32C of everything after it, started from the log's seed
         4     4  length        bytes of payload
         8     8  sequence      grows by one a frame, for the whole life of the log
        16     4  batch         the same in all frames of one write, different in every write
        20     8  durable_upto  position up to which all was on stable storage when this was written
        28     2  magic         0x10D5
        30     1  type          1 data, 2 open, 3 hole
        31     1  flags         bit 0: last frame of its batch

Why each is there:
- The seed is the CRC-32C of the log's random uid, so that frames of another log (inside a message's
  body, in a file put here by mistake) are not frames of this one.
- A batch is written by one call and counts only when its LAST frame is there: all or nothing.
  `batch` makes sure that what remains of a write that failed can never complete the next one at the
  same place.
- `durable_upto` is where the batch before ended, for appends go one at a time. So it chains the
  batches (a frame that is left over in a recycled segment names another place), and it is the proof
  that tells damage from a torn tail: a frame that names a place beyond the first bad one says that
  the bad one was whole.
- `durable_upto` ends in the segment's number, and the magic follows: six bytes to search for after
  damage.

To change the format: give it the next `VERSION` in segment.py, keep reading the old one (dispatch
on the version in the segment's header; frames that differ never share a segment, and where they are
the same, as in versions 1 and 2, the header may be changed in place), describe it in FORMAT.md
beside the old one, add a golden file of it to tests/golden, and keep every older golden file and
its test for ever. A new frame type is a new version too: a reader that skipped a type it does not
know would lose records in silence.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import google_crc32c

HEADER: Final = struct.Struct("<IIQIQHBB")

HEADER_BYTES: Final = HEADER.size

FIRST_FIELDS: Final = struct.Struct("<II")
"""Checksum and length: of all fields these differ from frame to frame."""

CHECKED_AT: Final = 4
"""Where begins, in a frame, what its checksum is over."""

SEQUENCE_AT: Final = 8

SAME_AT: Final = SEQUENCE_AT + 1
"""From here to the flags the headers of a batch are the same, as long as only the lowest byte of
the sequence number changes."""

FLAGS_AT: Final = 31

MAGIC: Final = 0x10D5

DATA: Final = 1

OPEN: Final = 2

HOLE: Final = 3

LAST: Final = 1

_BATCH_PART: Final = struct.Struct("<IQHBB")

_RECORD_PART: Final = struct.Struct("<IQ")

_SEARCHED: Final = struct.Struct("<IH")

_SEARCHED_AT: Final = 24

_OPEN_PAYLOAD: Final = struct.Struct("<Q")

OFFSET_BITS: Final = 32

_OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1

# Looked up at each call, so that a test can plant a log that checks nothing.
checksum: Callable[[int, bytes], int] = google_crc32c.extend


def position_of(segment: int, offset: int) -> int:
    """Return the position of a byte of a segment."""
    return segment << OFFSET_BITS | offset


def segment_of(position: int) -> int:
    """Return the number of the segment that a position is in."""
    return position >> OFFSET_BITS


def offset_of(position: int) -> int:
    """Return the offset of a position in its segment."""
    return position & _OFFSET_MASK


def seed_of(uid: bytes) -> int:
    """Return what every checksum of the log with this uid starts from."""
    return checksum(0, uid)


def open_payload(owner: str, epoch: int) -> bytes:
    """Return the payload of the frame that says who opened the log: the epoch (u64), then the owner
    (UTF-8)."""
    return _OPEN_PAYLOAD.pack(epoch) + owner.encode()


def read_open_payload(payload: bytes) -> tuple[str, int]:
    """Return the owner and the epoch of an open frame."""
    return payload[_OPEN_PAYLOAD.size :].decode(errors="replace"), _OPEN_PAYLOAD.unpack_from(
        payload
    )[0]


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of a frame, as it is written. `at` is the offset in what it was read from."""

    at: int
    crc: int
    length: int
    sequence: int
    batch: int
    durable_upto: int
    magic: int
    type: int
    flags: int

    @property
    def stop(self) -> int:
        """Offset of the byte after the payload."""
        return self.at + HEADER_BYTES + self.length


def encode_batch(
    payloads: Sequence[bytes],
    *,
    type_: int = DATA,
    start: int,
    sequence: int,
    batch: int,
    durable_upto: int,
    seed: int,
) -> tuple[bytes, list[int]]:
    """Return the bytes of one batch that is to stand at position `start`, and the position of each
    record.

    On the hot path, about 0.5 µs a record: the shared part of the headers is packed once, nothing
    is copied before the one join.
    """
    record_part, extend = _RECORD_PART.pack, checksum
    shared = _BATCH_PART.pack(batch, durable_upto, MAGIC, type_, 0)
    last = len(payloads) - 1
    parts: list[bytes] = []
    positions: list[int] = []
    position = start
    for index, payload in enumerate(payloads):
        if index == last:
            shared = _BATCH_PART.pack(batch, durable_upto, MAGIC, type_, LAST)
        length = len(payload)
        header = record_part(length, sequence) + shared
        crc = extend(extend(seed, header), payload)
        parts += (crc.to_bytes(4, "little"), header, payload)
        positions.append(position)
        position += HEADER_BYTES + length
        sequence += 1
    return b"".join(parts), positions


def encode_frame(payload: bytes, frame: Frame, seed: int) -> bytes:
    """Return the bytes of one frame with exactly these fields; its `at`, `crc` and `length` are not
    used."""
    header = _RECORD_PART.pack(len(payload), frame.sequence) + _BATCH_PART.pack(
        frame.batch, frame.durable_upto, frame.magic, frame.type, frame.flags
    )
    return checksum(checksum(seed, header), payload).to_bytes(4, "little") + header + payload


def decode_header(data: bytes, at: int) -> Frame | None:
    """Return the fields at an offset, believed or not; None when there are not enough bytes for a
    header."""
    if at + HEADER_BYTES > len(data):
        return None
    return Frame(at, *HEADER.unpack_from(data, at))


def is_intact(data: bytes, frame: Frame, seed: int) -> bool:
    """Say whether the whole frame is in `data` and its checksum fits."""
    return (
        frame.magic == MAGIC
        and frame.stop <= len(data)
        and checksum(seed, data[frame.at + 4 : frame.stop]) == frame.crc
    )


def find_header(data: bytes, segment: int, start: int) -> int:
    """Return the offset of the next thing that may be a frame whose `durable_upto` is in `segment`,
    or -1."""
    found = data.find(_SEARCHED.pack(segment, MAGIC), start + _SEARCHED_AT)
    return found - _SEARCHED_AT if found >= 0 else -1
