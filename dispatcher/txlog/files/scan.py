"""Recovery, the deciding part: where the log ends, and whether what follows is a torn tail or
damage. Changes nothing; reads through the callables it is given.

The rules, in order:
1. Every segment that the log's span names is there, and those above it without a gap; each is as
   long as its header says, and has the log's uid and its own number. In a log of version 1, which
   has no span, a prefix may be missing.
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
from dispatcher.txlog.files.chain import Chain, Stop
from dispatcher.txlog.files.frame import (
    HEADER_BYTES,
    Frame,
    decode_header,
    find_header,
    offset_of,
    position_of,
    seed_of,
    segment_of,
)
from dispatcher.txlog.files.segment import HEADER_SPACE, VERSION, Header, Sizes, name_of
from dispatcher.txlog.files.source import Source, Survey, intact_frames, read_segment
from dispatcher.txlog.files.span import SPAN


@dataclass(frozen=True, slots=True)
class Damage:
    """The log is damaged: in this segment (0: in its span), at this offset.

    `chain` is what was read before, and `stopped` the position of the first frame that is not
    believed; None when a header, or a whole segment, is what is wrong.
    """

    number: int
    offset: int
    reason: str
    chain: Chain | None = None
    stopped: int | None = None
    too_new: bool = False
    """It is not damaged: a newer version of this program has written it."""

    @property
    def name(self) -> str:
        """Name of the file."""
        return name_of(self.number) if self.number else SPAN


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

    `ends` has the end position of every segment before the active one.
    """

    chain: Chain
    uid: bytes
    first: int
    end: int
    active: int
    ends: dict[int, int] = field(default_factory=dict)
    remains: tuple[Remains, ...] = ()


Told = Callable[[int, int], None]
"""Told how many bytes of a log were read, of how many, once a chunk."""


def scan(
    survey: Survey, sizes: Sizes, visit: Visit | None = None, told: Told | None = None
) -> Found | Damage:
    """Read the whole log once, verify it, and decide where it ends.

    There is at least one segment. `visit` gets every record of a complete batch; when the result is
    Damage it has been called for the records before it.
    """
    sources = survey.sources if told is None else _counted(survey.sources, told)
    uid = check_files(survey)
    if isinstance(uid, Damage):
        return uid
    seed = seed_of(uid)
    chain = Chain()
    first = position_of(sources[0].number, HEADER_SPACE)
    ends: dict[int, int] = {}
    active, stop = _read_on(0, sources, chain, seed, sizes, visit, ends)
    while True:
        end = first if chain.end is None else chain.end
        tail = sources[active:]
        damage = _find_damage(tail, end, stop, seed, sizes)
        if damage is None:
            break
        active, stop = _read_on(active, sources, chain, seed, sizes, visit, ends)
        if chain.end is None or chain.end == end:
            return replace(damage, chain=chain, stopped=position_of(tail[0].number, stop.at))
        # A server is writing to the log, and got further while we searched.
    ends.pop(sources[active].number, None)
    return Found(
        chain,
        uid,
        first,
        end,
        sources[active].number,
        ends,
        tuple(_remains(tail, end, chain, sizes)),
    )


def _counted(sources: Sequence[Source], told: Told) -> list[Source]:
    """Return the same segments, which tell how far they were read."""
    total = sum(source.size_bytes for source in sources)
    before = 0
    counted = []
    told(0, total)
    for source in sources:
        counted.append(replace(source, read=_telling(source.read, before, total, told)))
        before += source.size_bytes
    return counted


def _telling(
    read: Callable[[int, int], bytes], before: int, total: int, told: Told
) -> Callable[[int, int], bytes]:
    def read_and_tell(size: int, offset: int) -> bytes:
        data = read(size, offset)
        told(before + offset + len(data), total)
        return data

    return read_and_tell


def _read_on(
    start: int,
    sources: Sequence[Source],
    chain: Chain,
    seed: int,
    sizes: Sizes,
    visit: Visit | None,
    ends: dict[int, int],
) -> tuple[int, Stop]:
    """Read batches from source `start` on, from where `chain` is, noting the ends of the segments.

    Returns the index of the source that the log ends in as far as it was read, and where in it.
    """
    active, last = start, Stop(HEADER_SPACE, HEADER_SPACE, "")
    for index in range(start, len(sources)):
        source = sources[index]
        stop = read_segment(source, chain, seed, sizes.chunk, visit)
        if index > start and (chain.end is None or segment_of(chain.end) != source.number):
            break
        active, last = index, stop
        if chain.end is None:
            break
        ends[source.number] = chain.end
    return active, last


def check_files(survey: Survey) -> bytes | Damage:
    """Return the log's uid, or what is wrong with the set of its files."""
    sources, span = survey.sources, survey.span
    for source in sources:
        version = source.header.version if isinstance(source.header, Header) else 0
        if version > VERSION:
            why = f"format version {version} is not known to this version of the program"
            return Damage(source.number, 8, why, too_new=True)
    if isinstance(span, str):
        return Damage(0, 0, span)
    headers = [source.header for source in sources if isinstance(source.header, Header)]
    if span is None and any(header.version == VERSION for header in headers):
        return Damage(0, 0, "the file is missing")
    if span is not None and headers and all(header.uid != span.uid for header in headers):
        return Damage(0, 12, "the file belongs to another log")
    uid = b"" if span is None else span.uid
    expected = span.first if span is not None else sources[0].number
    for source in sources:
        if source.number != expected:
            break
        expected += 1
        header = source.header
        if isinstance(header, str):
            return Damage(source.number, 0, header)
        if header.number != source.number:
            name = name_of(header.number)
            return Damage(source.number, 12, f"the file is the segment {name} under another name")
        if uid and header.uid != uid:
            return Damage(source.number, 24, "the segment belongs to another log")
        uid = header.uid
        if source.size_bytes < header.size_bytes:
            why = f"the file ends here, and was made with {header.size_bytes} bytes"
            return Damage(source.number, source.size_bytes, why)
    newest = max([source.number for source in sources] + ([] if span is None else [span.newest]))
    return uid if expected > newest else Damage(expected, 0, "the segment is missing")


def _find_damage(
    tail: Sequence[Source], end: int, stop: Stop, seed: int, sizes: Sizes
) -> Damage | None:
    """Return the damage that a frame after `end` proves, or None."""
    for source in tail:
        start = stop.consumed if source is tail[0] else HEADER_SPACE
        # A frame that follows the end itself proves nothing.
        claim = next(intact_frames(source, start, seed, end + 1, sizes.chunk), None)
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
    reason = f"there is no intact batch, yet {proof}"
    return Damage(tail[1].number, HEADER_SPACE, reason)


def _remains(tail: Sequence[Source], end: int, chain: Chain, sizes: Sizes) -> Iterator[Remains]:
    """Yield what has to be zeroed, in every segment that the next batches may be written to."""
    for source in tail:
        assert isinstance(source.header, Header), "see check_files"
        offset = offset_of(end) if source is tail[0] else HEADER_SPACE
        size = max(0, min(sizes.batch, source.limit - offset))
        data = source.read(size, offset).rstrip(b"\0")
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
