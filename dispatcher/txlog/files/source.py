"""A segment that is read: batch after batch, or searched for frames where the order is broken.

Reads through a callable and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dispatcher.txlog import Visit
from dispatcher.txlog.files.chain import Chain, Stop, read_batches
from dispatcher.txlog.files.frame import (
    DATA,
    HEADER_BYTES,
    HOLE,
    Frame,
    decode_header,
    find_header,
    is_intact,
    offset_of,
    position_of,
    segment_of,
)
from dispatcher.txlog.files.segment import HEADER_SPACE, Header
from dispatcher.txlog.files.span import Span


@dataclass(frozen=True, slots=True)
class Source:
    """A segment file to be read: what it is named after, its real size, its header (or why it has
    none)."""

    number: int
    size_bytes: int
    header: Header | str
    read: Callable[[int, int], bytes]
    """Returns up to (size) bytes from (offset); fewer only at the end of the file."""

    @property
    def limit(self) -> int:
        """Where frames end: what is behind the declared size is not part of the segment."""
        if isinstance(self.header, Header):
            return min(self.size_bytes, self.header.size_bytes)
        return self.size_bytes


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in a log's directory: its segments, in order, and what its span says.

    `span` is None where there is no such file (a log of version 1), and words where it cannot be
    read. `leftovers` are segments below the span, which a trim had not yet removed.
    """

    sources: list[Source]
    span: Span | str | None = None
    leftovers: tuple[int, ...] = ()


def read_segment(source: Source, chain: Chain, seed: int, chunk: int, visit: Visit | None) -> Stop:
    """Read all batches of a segment that follow `chain`. Returns where they end, as offsets in the
    file."""
    *_, stop = walk_segment(source, chain, seed, chunk, visit)
    return stop


def walk_segment(
    source: Source, chain: Chain, seed: int, chunk: int, visit: Visit | None
) -> Iterator[Stop]:
    """Do what `read_segment` does, a chunk at a time, and yield after each. The last is the
    result. Goes on where `chain` is, if that is in this segment."""
    offset = HEADER_SPACE
    if chain.end is not None and segment_of(chain.end) == source.number:
        offset = offset_of(chain.end)
    size = chunk
    while True:
        data = source.read(max(0, min(size, source.limit - offset)), offset)
        stop = read_batches(data, position_of(source.number, offset), chain, seed, visit)
        yield Stop(offset + stop.consumed, offset + stop.at, stop.why)
        if not stop.short or offset + len(data) >= source.limit or len(data) < size:
            return
        # A batch that does not fit into a chunk (a hole may be large) is read in one piece.
        size = chunk if stop.consumed else 2 * size
        offset += stop.consumed


def intact_frames(
    source: Source, start: int, seed: int, beyond: int, chunk: int
) -> Iterator[Frame]:
    """Yield the intact frames from offset `start` on whose `durable_upto` is at least `beyond`.

    The checksum is looked at last: in a recycled segment nearly everything is refused before it.
    `at` of the frames is the offset in the file.
    """
    offset = start
    while offset + HEADER_BYTES <= source.size_bytes:
        data = source.read(min(chunk, source.size_bytes - offset), offset)
        # Most of what is searched was never written to; comparing is ten times as fast as
        # searching.
        zeros = data == bytes(len(data))
        for at in () if zeros else _candidates(data, source.number):
            frame = _frame_at(source, data, at, offset)
            if frame is None or not beyond <= frame.durable_upto:
                continue
            here = position_of(source.number, frame.at)
            if frame.durable_upto <= here and _is_intact_in(source, frame, data, offset, seed):
                yield frame
        if offset + len(data) >= source.size_bytes or len(data) <= HEADER_BYTES:
            return
        offset += len(data) - HEADER_BYTES + 1


def _candidates(data: bytes, number: int) -> list[int]:
    """Return the offsets of what may be frames of this segment, in order. A frame of it names a
    place in it or, in its first batch, in the segment before."""
    found = []
    for named in (number - 1, number):
        at = find_header(data, named, 0)
        while at >= 0:
            found.append(at)
            at = find_header(data, named, at + 1)
    return sorted(found)


def _frame_at(source: Source, data: bytes, at: int, offset: int) -> Frame | None:
    frame = decode_header(data, at)
    if frame is None or not DATA <= frame.type <= HOLE or offset + frame.stop > source.size_bytes:
        return None
    return Frame(
        offset + at,
        frame.crc,
        frame.length,
        frame.sequence,
        frame.batch,
        frame.durable_upto,
        frame.magic,
        frame.type,
        frame.flags,
    )


def _is_intact_in(source: Source, frame: Frame, data: bytes, offset: int, seed: int) -> bool:
    inside = decode_header(data, frame.at - offset)
    if inside is not None and inside.stop <= len(data):
        return is_intact(data, inside, seed)
    whole = source.read(HEADER_BYTES + frame.length, frame.at)
    alone = decode_header(whole, 0)
    return alone is not None and is_intact(whole, alone, seed)
