"""Repairing a damaged log: what would be lost, and how to make the rest readable. Decides; `apply`
does.

The records that are left keep their positions, for others name them by it. So what is damaged is
replaced, in place, by frames of type `hole` that cover exactly the bytes from the first frame that
is not believed to the next intact one; a batch that had lost some of its frames is a whole batch
with a hole in it then. The next intact frame says where its batch begins (`durable_upto`), so a
hole never covers the end of one batch and the start of another:

    [a1 a2 ## #L] [## b2 bL]     ->     [a1 a2 hole-L] [hole b2 bL]

A hole's sequence number is that of the last frame it stands for. Headers that cannot be read are
written again, and a segment that is missing is made, with one hole in it. Nothing else is changed;
what is behind the end of the log (a torn tail) is left to the next start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from dispatcher.errors import LogError
from dispatcher.txlog.frame import (
    HEADER_BYTES,
    HOLE,
    LAST,
    MAGIC,
    Frame,
    decode_header,
    encode_frame,
    offset_of,
    position_of,
    seed_of,
    segment_of,
)
from dispatcher.txlog.scan import Damage, Found, Source, intact_frames, scan
from dispatcher.txlog.segment import HEADER_SPACE, VERSION, Header, Sizes, name_of


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes to be written at an offset of a segment; with `size_bytes` the segment has to be made
    first."""

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


@dataclass(slots=True)
class Plan:
    """How a log becomes readable again. `found` is what a start would find after it."""

    found: Found
    patches: list[Patch] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)


def plan_repair(sources: Sequence[Source], sizes: Sizes) -> Plan:
    """Decide what to write so that a log opens again. Changes nothing.

    Raises LogError when nothing can be done: no header is left to say whose frames these are, or
    the log has a format that this version does not know.
    """
    uid = _most_common_uid(sources)
    patched = _with_missing([_Patched(source) for source in sources])
    patches = [patch for source in patched if (patch := source.mend_header(uid)) is not None]
    losses: list[Loss] = []
    for patch in patches:
        damage = Damage(patch.number, 0, "the segment is missing or its header is damaged")
        losses.append(Loss(damage, 0, 0))
    reached = -1
    while True:
        found = scan([source.as_source() for source in patched], sizes)
        if isinstance(found, Found):
            return Plan(found, patches, losses)
        if found.stopped is None or found.stopped <= reached:
            name = name_of(found.number)
            raise LogError(f"{name}: {found.reason}; a hole does not help. Restore a copy.")
        reached = found.stopped
        holes, loss = _holes(found, [source.as_source() for source in patched], uid, sizes)
        losses.append(loss)
        patches += holes
        for hole in holes:
            patched[hole.number - patched[0].number].patches.append(hole)


class _Patched:
    """A segment as it would be with its patches."""

    def __init__(self, source: Source, *, missing: bool = False) -> None:
        self.number = source.number
        self.patches: list[Patch] = []
        self._source = source
        self._missing = missing

    def mend_header(self, uid: bytes) -> Patch | None:
        """Return the patch of the header, if it needs one."""
        header = self._source.header
        if isinstance(header, Header):
            if header.version != VERSION:
                name = name_of(self.number)
                raise LogError(f"{name} has format version {header.version}, which is not known")
            if header.number == self.number and header.uid == uid:
                return None
        mended = Header(self.number, self._source.size_bytes, uid, recycled=True)
        size_bytes = self._source.size_bytes if self._missing else None
        patch = Patch(self.number, 0, mended.encode(), size_bytes)
        self._source = replace(self._source, header=mended)
        self.patches.append(patch)
        return patch

    def as_source(self) -> Source:
        """Return a source that reads the segment with its patches."""
        return replace(self._source, read=self._read)

    def _read(self, size: int, offset: int) -> bytes:
        data = bytearray(self._source.read(size, offset))
        for patch in self.patches:
            start = max(patch.offset, offset)
            stop = min(patch.offset + len(patch.data), offset + len(data))
            if start < stop:
                piece = patch.data[start - patch.offset : stop - patch.offset]
                data[start - offset : stop - offset] = piece
        return bytes(data)


def _most_common_uid(sources: Sequence[Source]) -> bytes:
    headers = [source.header for source in sources if isinstance(source.header, Header)]
    if not headers:
        raise LogError(
            "no segment has a header that can be read, so nobody knows which frames are this log's."
            " Restore it from a copy, or move it away to start with an empty one."
        )
    return Counter(header.uid for header in headers).most_common(1)[0][0]


def _with_missing(sources: list[_Patched]) -> list[_Patched]:
    """Put an empty segment where one is missing."""
    whole: list[_Patched] = []
    for source in sources:
        while whole and whole[-1].number + 1 < source.number:
            size_bytes = max(_size(whole[-1]), _size(source))
            read: Callable[[int, int], bytes] = _zeros_of(size_bytes)
            gap = Source(whole[-1].number + 1, size_bytes, "the segment is missing", read)
            whole.append(_Patched(gap, missing=True))
        whole.append(source)
    return whole


def _size(source: _Patched) -> int:
    return source.as_source().size_bytes


def _zeros_of(size_bytes: int) -> Callable[[int, int], bytes]:
    return lambda size, offset: bytes(max(0, min(size, size_bytes - offset)))


# Holes


@dataclass(frozen=True, slots=True)
class _Edge:
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


def _holes(
    damage: Damage, sources: Sequence[Source], uid: bytes, sizes: Sizes
) -> tuple[list[Patch], Loss]:
    """Return the holes that close one damage, and what is lost in them."""
    if damage.chain is None or damage.stopped is None:
        raise LogError(f"{name_of(damage.number)}: {damage.reason}; this cannot be repaired")
    seed = seed_of(uid)
    edge = _edge(damage, sources, seed)
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


def _edge(damage: Damage, sources: Sequence[Source], seed: int) -> _Edge:
    chain, stopped = damage.chain, damage.stopped
    assert chain is not None, "asked for by the caller"
    assert stopped is not None, "asked for by the caller"
    number = segment_of(stopped)
    end = chain.end
    source = next(source for source in sources if source.number == number)
    start = HEADER_SPACE if end is None else offset_of(end)
    # No batch was read at all: what is before the first segment is gone, its place is as good as
    # any.
    before = position_of(number - 1, 0) if end is None else end
    sequence, batch = chain.sequence, None
    for frame in _frames(source, start, offset_of(stopped)):
        sequence, batch, before = frame.sequence + 1, frame.batch, frame.durable_upto
    return _Edge(before, stopped, sequence, batch)


def _frames(source: Source, start: int, stop: int) -> Iterator[Frame]:
    """Yield the frames that are known to be whole between two offsets."""
    while start < stop:
        frame = decode_header(source.read(HEADER_BYTES, start), 0)
        assert frame is not None, "it was read before"
        yield frame
        start += frame.stop


def _survivors(
    edge: _Edge, sources: Sequence[Source], seed: int, sizes: Sizes
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


def _stretches(edge: _Edge, survivor: Frame, number: int) -> list[_Stretch] | None:
    """Return what holes have to cover so that `survivor` follows; None if it cannot follow."""
    at, upto = position_of(number, survivor.at), survivor.durable_upto
    damaged = segment_of(edge.stopped)
    inside = number == damaged
    batch = survivor.batch
    if inside and upto == edge.end:
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


def _sequences(edge: _Edge, survivor: Frame, count: int) -> list[int] | None:
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
