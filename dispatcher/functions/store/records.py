"""CALLS and CALLS_LARGE records: one event each.

CALLS        kind, code of the event, length of the header (u32); the header; the blobs.
CALLS_LARGE  kind, code, length of the header, bytes of all blobs (u64); the header; the positions
             (u64 each) of the CHUNK records that hold the blobs, all of them full but the last.

Offsets of spans count in the payload of a CALLS record, and for a CALLS_LARGE record in what its
chunks hold together. Bit 7 of the code says that the header is deflated (zlib). All integers are
little endian.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812  # as other exceptions are spelled
from typing import Final

from dispatcher.functions.events import Event
from dispatcher.functions.store.codec import decode, encode
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.kinds import Kind, RecordError

SMALL_BYTES: Final = CHUNK_BYTES
"""What is larger has its blobs in chunks."""

_SMALL: Final = Struct("<BBI")
_LARGE: Final = Struct("<BBIQ")
_DEFLATED: Final = 0x80
_DEFLATE_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Encoded:
    """An event on its way into the log."""

    code: int
    header: bytes
    blobs: list[bytes]

    @property
    def blob_bytes(self) -> int:
        """Bytes of all blobs."""
        return sum(map(len, self.blobs))

    @property
    def is_large(self) -> bool:
        """Whether its blobs have to go to chunks."""
        return _SMALL.size + len(self.header) + self.blob_bytes > SMALL_BYTES

    def small(self) -> bytes:
        """The payload, with the blobs in it."""
        head = _SMALL.pack(Kind.CALLS, self.code, len(self.header))
        return b"".join((head, self.header, *self.blobs))

    def large(self, chunks: array[int]) -> bytes:
        """The payload that names the chunks (an `array("Q")` of positions)."""
        head = _LARGE.pack(Kind.CALLS_LARGE, self.code, len(self.header), self.blob_bytes)
        return b"".join((head, self.header, chunks.tobytes()))

    def pieces(self) -> Iterator[bytes]:
        """What its chunks hold."""
        whole = b"".join(self.blobs)
        for start in range(0, len(whole), CHUNK_BYTES):
            yield whole[start : start + CHUNK_BYTES]


def encoded(event: Event) -> Encoded:
    """An event as it is stored."""
    code, header, blobs = encode(event)
    if len(header) > _DEFLATE_BYTES:
        code, header = code | _DEFLATED, zlib.compress(header, 1)
    return Encoded(code, header, blobs)


def chunks_of(payload: bytes) -> array[int] | None:
    """The positions of its chunks, or None: it has none."""
    if payload[0] == Kind.CALLS:
        return None
    _, _, size, _ = _LARGE.unpack_from(payload)
    return array("Q", payload[_LARGE.size + size :])


def decoded(position: int, payload: bytes) -> Event:
    """The event in the record at `position`.

    Raises:
        LogTooNew: this version does not know it.
        RecordError: the record is not what its kind says.
    """
    try:
        if payload[0] == Kind.CALLS:
            _, code, size = _SMALL.unpack_from(payload)
            start, offset = _SMALL.size, _SMALL.size + size
        else:
            _, code, size, _ = _LARGE.unpack_from(payload)
            start, offset = _LARGE.size, 0
        header = payload[start : start + size]
        if code & _DEFLATED:
            header = zlib.decompress(header)
    except (StructError, zlib.error) as error:
        raise RecordError(str(error)) from error
    return decode(code & ~_DEFLATED, position, header, offset)
