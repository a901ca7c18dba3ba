"""Recovery, the deciding part: where the log ends, and whether what follows is a torn tail or
damage. Changes nothing; reads through the callables it is given.

The rules, in order:
1. Segments are numbered without a gap (a prefix may be trimmed away), have the log's uid and their
   own number.
2. The log ends at the first place where no complete, intact batch follows the one before: neither
   there nor, where the next segment begins with a batch that says it follows, at the start of the
   next segment.
3. A frame anywhere after that place, intact, whose `durable_upto` is beyond the place, proves that
   a sync had confirmed what is not there any more: damage. Nothing is cut then.
4. Otherwise what is there was never confirmed (or is left over from a segment's former life): the
   tail.

So a flipped bit below the last confirmed position is always found; in the very last batch it cannot
be told from a torn write, and the batch is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from dispatcher.txlog import Visit
from dispatcher.txlog.frame import (
    DATA,
    HEADER_BYTES,
    HOLE,
    Chain,
    Frame,
    Stop,
    decode_header,
    find_header,
    is_intact,
    offset_of,
    position_of,
    read_batches,
    seed_of,
    segment_of,
)
from dispatcher.txlog.segment import HEADER_SPACE, VERSION, Header, Sizes, name_of


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
class Damage:
    """The log is damaged: in this segment, at this offset.

    `chain` is what was read before, and `stopped` the position of the first frame that is not
    believed; None when a header, or a whole segment, is what is wrong.
    """

    number: int
    offset: int
    reason: str
    chain: Chain | None = None
    stopped: int | None = None


@dataclass(frozen=True, slots=True)
class Remains:
    """Bytes after the end of the log that a later start must not find again.

    `torn` says that they are, or may be, a batch that was being written when the process ended.
    """

    number: int
    offset: int
    data: bytes
    torn: bool

    @property
    def position(self) -> int:
        """Position of the first byte."""
        return position_of(self.number, self.offset)


@dataclass(frozen=True, slots=True)
class Found:
    """The log is whole. `end` is in segment `active`; what follows `active` holds no record.

    `ends` has the end position of every segment before the active one. `useless` are segments after
    the active one whose header cannot be read; they hold nothing.
    """

    chain: Chain
    uid: bytes
    first: int
    end: int
    active: int
    ends: dict[int, int] = field(default_factory=dict)
    remains: tuple[Remains, ...] = ()
    useless: tuple[int, ...] = ()


def scan(sources: Sequence[Source], sizes: Sizes, visit: Visit | None = None) -> Found | Damage:
    """Read the whole log once, verify it, and decide where it ends.

    `sources` are all segments in order, at least one. `visit` gets every record of a complete
    batch; when the result is Damage it has been called for the records before it.
    """
    uid = check_headers(sources)
    if isinstance(uid, Damage):
        return uid
    seed = seed_of(uid)
    chain = Chain()
    ends: dict[int, int] = {}
    active, stopped = 0, HEADER_SPACE
    why = ""
    for index, source in enumerate(sources):
        if isinstance(source.header, str):
            break
        stop = read_segment(source, chain, seed, sizes.chunk, visit)
        if index and (chain.end is None or segment_of(chain.end) != source.number):
            break
        active, stopped, why = index, stop.at, stop.why
        if chain.end is None:
            break
        ends[source.number] = chain.end
    first = position_of(sources[0].number, HEADER_SPACE)
    end = first if chain.end is None else chain.end
    ends.pop(sources[active].number, None)
    tail = sources[active:]
    damage = _find_damage(tail, end, Stop(offset_of(end), stopped, why), seed, sizes)
    if damage is not None:
        return replace(damage, chain=chain, stopped=position_of(tail[0].number, stopped))
    return Found(
        chain,
        uid,
        first,
        end,
        sources[active].number,
        ends,
        tuple(_remains(tail, end, chain, sizes)),
        tuple(source.number for source in _after_bad_header(tail)),
    )


def check_headers(sources: Sequence[Source]) -> bytes | Damage:
    """Return the log's uid, or what is wrong with the set of segments.

    A header that cannot be read is wrong here in the first segment only: whether a later one
    matters depends on what follows it.
    """
    uid = b""
    for index, source in enumerate(sources):
        if index and source.number != sources[index - 1].number + 1:
            return Damage(sources[index - 1].number + 1, 0, "the segment is missing")
        header = source.header
        if isinstance(header, str):
            if not index:
                return Damage(source.number, 0, header)
            continue
        if header.version != VERSION:
            return Damage(source.number, 8, f"format version {header.version} is not known")
        if header.number != source.number:
            name = name_of(header.number)
            return Damage(source.number, 12, f"the file is the segment {name} under another name")
        if uid and header.uid != uid:
            return Damage(source.number, 24, "the segment belongs to another log")
        uid = header.uid
    return uid


def read_segment(source: Source, chain: Chain, seed: int, chunk: int, visit: Visit | None) -> Stop:
    """Read all batches of a segment that follow `chain`. Returns where they end, as offsets in the
    file."""
    *_, stop = walk_segment(source, chain, seed, chunk, visit)
    return stop


def walk_segment(
    source: Source, chain: Chain, seed: int, chunk: int, visit: Visit | None
) -> Iterator[Stop]:
    """Do what `read_segment` does, a chunk at a time, and yield after each. The last is the
    result."""
    offset, size = HEADER_SPACE, chunk
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
        for at in _candidates(data, source.number):
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


def _find_damage(
    tail: Sequence[Source], end: int, stop: Stop, seed: int, sizes: Sizes
) -> Damage | None:
    """Return the damage that a frame after `end` proves, or None."""
    bad_header = False
    for source in tail:
        start = stop.consumed if source is tail[0] else HEADER_SPACE
        bad_header = bad_header or isinstance(source.header, str)
        # A frame that follows the end itself proves nothing, unless it is where no start can reach
        # it.
        beyond = end if bad_header else end + 1
        claim = next(intact_frames(source, start, seed, beyond, sizes.chunk), None)
        if claim is not None:
            return _blame(tail, end, stop, source, claim)
    return None


def _blame(tail: Sequence[Source], end: int, stop: Stop, source: Source, claim: Frame) -> Damage:
    """Name the place: where reading stopped, or the next segment if the last one was read to its
    end."""
    upto = claim.durable_upto
    proof = (
        f"the frame at offset {claim.at} of {name_of(source.number)} says that everything before"
        f" offset {offset_of(upto)} of {name_of(segment_of(upto))} was stored"
    )
    here = tail[0]
    frame = decode_header(here.read(HEADER_BYTES, stop.at), 0)
    began = frame is not None and frame.durable_upto == end
    if source is here or began or upto < position_of(tail[1].number, 0):
        return Damage(here.number, stop.at, f"{stop.why}, yet {proof}")
    following = tail[1]
    if isinstance(following.header, str):
        return Damage(following.number, 0, f"{following.header}, yet {proof}")
    return Damage(following.number, HEADER_SPACE, f"there is no intact batch, yet {proof}")


def _after_bad_header(tail: Sequence[Source]) -> Sequence[Source]:
    for index, source in enumerate(tail):
        if isinstance(source.header, str):
            return tail[index:]
    return ()


def _remains(tail: Sequence[Source], end: int, chain: Chain, sizes: Sizes) -> Iterator[Remains]:
    """Yield what has to be zeroed, in every segment that the next batches may be written to."""
    for source in tail:
        if not isinstance(source.header, Header):
            return
        offset = offset_of(end) if source is tail[0] else HEADER_SPACE
        data = source.read(min(sizes.batch, source.limit - offset), offset).rstrip(b"\0")
        if data:
            torn = not source.header.recycled or _looks_torn(data, end, chain)
            yield Remains(source.number, offset, data, torn)


def _looks_torn(data: bytes, end: int, chain: Chain) -> bool:
    """Say whether bytes in a recycled segment are of a batch that was to follow `end`.

    What the segment held before names older places and lower sequence numbers everywhere.
    """
    frame = decode_header(data.ljust(HEADER_BYTES, b"\0"), 0)
    if frame is not None and (frame.durable_upto == end or frame.sequence == chain.sequence):
        return True
    at = find_header(data, segment_of(end), 0)
    while at >= 0:
        frame = decode_header(data, at)
        if frame is not None and frame.durable_upto == end:
            return True
        at = find_header(data, segment_of(end), at + 1)
    return False
