"""The holes that close one damage: where they begin and end, and what their headers say. Pure.

A hole reaches from the first frame that is not believed to the next intact one. The next intact
frame says where its batch begins (`durable_upto`), so a hole never covers the end of one batch and
the start of another:

    [a1 a2 ## #L] [## b2 bL]     ->     [a1 a2 hole-L] [hole b2 bL]

A hole's sequence number is that of the last frame it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dispatcher.errors import LogError
from dispatcher.txlog.files.chain import Chain
from dispatcher.txlog.files.frame import (
    HEADER_BYTES,
    HOLE,
    LAST,
    MAGIC,
    Frame,
    decode_header,
    encode_frame,
    is_intact,
    offset_of,
    position_of,
    segment_of,
)
from dispatcher.txlog.files.scan import Damage, Found
from dispatcher.txlog.files.segment import HEADER_SPACE, Sizes, name_of
from dispatcher.txlog.files.source import Source, intact_frames


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes to be written at an offset of a segment; with `size_bytes` the file is missing or too
    short, and has to be made of this size first."""

    number: int
    offset: int
    data: bytes
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """What one damage costs: at most `records` records (None: nobody can say) in `size_bytes`
    bytes."""

    damage: Damage
    records: int | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Edge:
    """The log up to the damage: it begins at `stopped`; `end` is the end of the last whole batch,
    and between the two are the intact frames of a batch that goes on in the damage, if `batch` is
    not None."""

    end: int
    stopped: int
    sequence: int | None
    batch: int | None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Bytes to be covered by one hole, and what its header has to say."""

    start: int
    stop: int
    durable_upto: int
    batch: int
    last: bool


def close_damage(
    damage: Damage, edge: Edge, sources: Sequence[Source], seed: int, sizes: Sizes
) -> tuple[list[Patch], Loss]:
    """Return the holes that close one damage, and what is lost in them."""
    for survivor, number in _survivors(edge, sources, seed, sizes):
        stretches = _stretches(edge, survivor, number)
        if stretches is None:
            continue
        numbers = _sequences(edge, survivor, len(stretches))
        if numbers is None:
            continue
        holes = [_hole(*pair, seed) for pair in zip(stretches, numbers, strict=True)]
        records = None if edge.sequence is None else survivor.sequence - edge.sequence
        return holes, Loss(damage, records, sum(len(hole.data) for hole in holes))
    raise LogError(f"{name_of(damage.number)}: nothing that follows the damage fits to it")


def last_hole(found: Found, start: int, stop: int, seed: int) -> Patch:
    """Return the hole that follows the end of the log, from `start` to `stop`: a batch of its
    own."""
    upto = found.end if found.chain.end is not None else position_of(segment_of(start) - 1, 0)
    sequence = 1 if found.chain.sequence is None else found.chain.sequence
    return _hole(_Stretch(start, stop, upto, 0, last=True), sequence, seed)


def edge_of(chain: Chain, number: int, sources: Sequence[Source], seed: int) -> Edge:
    """Return where exactly the damage begins: in the segment that was read last, or, when that was
    read to its end, in the next one."""
    start = position_of(number, HEADER_SPACE) if chain.end is None else chain.end
    # Where no batch was read at all, what is before the first segment is gone: any place in it will
    # do.
    end = position_of(number - 1, 0) if chain.end is None else chain.end
    edge = Edge(end, start, chain.sequence, None)
    here, *rest = (source for source in sources if source.number >= number)
    within = _follow(edge, here, seed, first=chain.end is None)
    if within.stopped == start and rest:
        following = replace(edge, stopped=position_of(number + 1, HEADER_SPACE))
        beyond = _follow(following, rest[0], seed, first=False)
        return beyond if beyond.stopped > following.stopped else within
    return within


def _follow(edge: Edge, source: Source, seed: int, *, first: bool) -> Edge:
    """Move the edge over the intact frames of the batch that begins there. `first`: nothing was
    read before, the first frame says what it follows."""
    while True:
        offset = offset_of(edge.stopped)
        frame = decode_header(source.read(HEADER_BYTES, offset), 0)
        if frame is None or offset + frame.stop > source.limit:
            return edge
        if first and segment_of(frame.durable_upto) == source.number - 1:
            expected = replace(edge, end=frame.durable_upto, sequence=frame.sequence)
        else:
            expected = edge
        whole = is_intact(source.read(frame.stop, offset), frame, seed)
        if not (whole and _continues(expected, frame)):
            return edge
        stopped = edge.stopped + frame.stop
        edge = Edge(expected.end, stopped, frame.sequence + 1, frame.batch)
        first = False


def _continues(edge: Edge, frame: Frame) -> bool:
    """Say whether an intact frame belongs to the batch at the edge."""
    if frame.durable_upto != edge.end or edge.batch not in (frame.batch, None):
        return False
    skipped = edge.sequence is not None and frame.sequence > edge.sequence
    return edge.sequence in (frame.sequence, None) or (frame.type == HOLE and skipped)


def _survivors(
    edge: Edge, sources: Sequence[Source], seed: int, sizes: Sizes
) -> Iterator[tuple[Frame, int]]:
    """Yield the intact frames after the damage, with their segment's number; the first that fits is
    it."""
    first = segment_of(edge.stopped)
    for source in sources:
        if source.number < first:
            continue
        start = offset_of(edge.stopped) if source.number == first else HEADER_SPACE
        for frame in intact_frames(source, start, seed, edge.end, sizes.chunk):
            if edge.sequence is None or frame.sequence >= edge.sequence:
                yield frame, source.number


def _stretches(edge: Edge, survivor: Frame, number: int) -> list[_Stretch] | None:
    """Return what holes have to cover so that `survivor` follows; None if it cannot follow."""
    at, upto = position_of(number, survivor.at), survivor.durable_upto
    damaged = segment_of(edge.stopped)
    inside = number == damaged
    batch = survivor.batch
    # Of the first batch that is kept, nobody but its own frames knows where the one before it
    # ended.
    unknown = edge.sequence is None and segment_of(upto) == damaged - 1
    if inside and (upto == edge.end or unknown):
        return _if_wide([_Stretch(edge.stopped, at, upto, batch, last=False)])
    found: list[_Stretch] = []
    end = edge.end
    for segment in range(damaged, number + 1):
        start = edge.stopped if segment == damaged else position_of(segment, HEADER_SPACE)
        if segment_of(upto) == segment:
            stop = upto
        elif segment == number:
            break
        elif segment == damaged and edge.batch is None:
            continue  # it ends where its last whole batch does
        else:
            stop = start + HEADER_BYTES
        own = edge.batch if segment == damaged and edge.batch is not None else batch - 1
        if stop != start or (segment == damaged and edge.batch is not None):
            found.append(_Stretch(start, stop, end, own & 0xFFFFFFFF, last=True))
            end = stop
    if end != upto:
        return None
    start = max(upto, position_of(number, HEADER_SPACE))
    if start < at:
        found.append(_Stretch(start, at, upto, batch, last=False))
    return _if_wide(found)


def _if_wide(stretches: list[_Stretch]) -> list[_Stretch] | None:
    """Each hole needs room for its header; no lost frame was smaller than that."""
    wide = all(stretch.stop - stretch.start >= HEADER_BYTES for stretch in stretches)
    return stretches if wide and stretches else None


def _sequences(edge: Edge, survivor: Frame, count: int) -> list[int] | None:
    """Return the holes' sequence numbers: the last stands right before the survivor."""
    first = survivor.sequence - count if edge.sequence is None else edge.sequence
    if first < 0 or survivor.sequence - first < count:
        return None
    return [*range(first, first + count - 1), survivor.sequence - 1]


def _hole(stretch: _Stretch, sequence: int, seed: int) -> Patch:
    frame = Frame(
        at=0,
        crc=0,
        length=0,
        sequence=sequence,
        batch=stretch.batch,
        durable_upto=stretch.durable_upto,
        magic=MAGIC,
        type=HOLE,
        flags=LAST if stretch.last else 0,
    )
    payload = bytes(stretch.stop - stretch.start - HEADER_BYTES)
    number, offset = segment_of(stretch.start), offset_of(stretch.start)
    return Patch(number, offset, encode_frame(payload, frame, seed))
