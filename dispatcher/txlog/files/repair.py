"""Repairing a damaged log: what would be lost, and how to make the rest readable. Decides; changes
nothing itself (`inspect.repair` does).

The records that are left keep their positions, for others name them by it. So what is damaged is
replaced, in place, by frames of type `hole` (see `holes`); a batch that has lost some of its frames
is a whole batch with a hole in it then. Headers that cannot be read are written again. A segment
that is too short gets its length back, and one that is missing is made; where nothing that follows
says what was in them, a hole fills them to their end, so that no position that a lost record may
have had is used again. What is missing at the beginning of the log is left out: the log begins
later. What is behind the end of the log (a torn tail) is left to the next start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dispatcher.errors import LogError
from dispatcher.txlog.files.frame import (
    HEADER_BYTES,
    position_of,
    seed_of,
    segment_of,
)
from dispatcher.txlog.files.holes import Loss, Patch, close_damage, edge_of, last_hole
from dispatcher.txlog.files.scan import Damage, Found, check_files, scan
from dispatcher.txlog.files.segment import HEADER_SPACE, Header, Sizes
from dispatcher.txlog.files.source import Source, Survey
from dispatcher.txlog.files.span import Span


@dataclass(slots=True)
class Plan:
    """How a log becomes readable again. `found` is what a start would find after it, and `span`
    what its span has to say, if that has to be written again."""

    found: Found
    patches: list[Patch] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    span: Span | None = None

    @property
    def is_needed(self) -> bool:
        """Something has to be changed."""
        return bool(self.patches) or self.span is not None


def plan_repair(surveyed: Survey, sizes: Sizes) -> Plan:
    """Decide what to write so that a log opens again. Changes nothing.

    Raises LogError when nothing can be done: no header is left to say whose frames these are, or
    the log has a format that this version does not know.
    """
    wrong = check_files(surveyed)
    if isinstance(wrong, Damage) and wrong.too_new:
        raise LogError(f"{wrong.name}: {wrong.reason}")
    uid = _uid(surveyed)
    span, losses = _mend_span(surveyed, uid)
    patched = _Patches(surveyed, uid, span, sizes)
    losses += patched.losses
    reached = -1
    while True:
        found = scan(patched.survey(), sizes)
        if isinstance(found, Found):
            ending = patched.fill_to_the_end(found)
            if ending is None:
                return Plan(found, patched.all, losses, span if span != surveyed.span else None)
            losses.append(ending)
            continue
        if found.chain is None or found.stopped is None:
            raise LogError(f"{found.name}: {found.reason}; this cannot be repaired")
        current = patched.survey().sources
        edge = edge_of(found.chain, segment_of(found.stopped), current, seed_of(uid))
        if edge.stopped <= reached:
            raise LogError(f"{found.name}: {found.reason}; a hole does not help. Restore a copy.")
        reached = edge.stopped
        holes, loss = close_damage(found, edge, current, seed_of(uid), sizes)
        losses.append(loss)
        for hole in holes:
            patched.add(hole)


def _uid(surveyed: Survey) -> bytes:
    """Return the uid that most segments have."""
    headers = [s.header for s in surveyed.sources if isinstance(s.header, Header)]
    if not headers:
        raise LogError(
            "no segment has a header that can be read, so nobody knows which frames are this log's."
            " Restore it from a copy, or move it away to start with an empty one."
        )
    return Counter(header.uid for header in headers).most_common(1)[0][0]


def _mend_span(surveyed: Survey, uid: bytes) -> tuple[Span | None, list[Loss]]:
    """Return what the span has to say (None: a log of version 1 has none), and what is lost by
    that."""
    sources, span = surveyed.sources, surveyed.span
    first, newest = sources[0].number, sources[-1].number
    if span is None:
        headers = [source.header for source in sources]
        if not any(isinstance(h, Header) and h.version != 1 for h in headers):
            return None, []
    if not isinstance(span, Span) or span.uid != uid:
        why = span if isinstance(span, str) else "the file is missing, or another log's"
        return Span(uid, first, newest), [Loss(Damage(0, 0, why), 0, 0)]
    if first <= span.first:
        return span, []
    losses = [
        Loss(Damage(number, 0, "the segment is missing"), None, 0)
        for number in range(span.first, first)
    ]
    return span.after(first=first, newest=max(newest, span.newest)), losses


class _Patches:
    """A log as it would be with its patches."""

    def __init__(self, surveyed: Survey, uid: bytes, span: Span | None, sizes: Sizes) -> None:
        self.all: list[Patch] = []
        self.losses: list[Loss] = []
        self._span = span
        self._uid = uid
        self._sizes = sizes
        self._cut: dict[int, Damage] = {}
        """Segments of which a part is not there, and what was found."""
        self._sources: dict[int, Source] = {}
        self._patches: dict[int, list[Patch]] = {}
        version = max(s.header.version for s in surveyed.sources if isinstance(s.header, Header))
        there = {source.number: source for source in surveyed.sources}
        newest = max([*there, -1 if span is None else span.newest])
        for number in range(min(there), newest + 1):
            neighbours = [there[n].size_bytes for n in (number - 1, number + 1) if n in there]
            size_bytes = max([sizes.smallest, *neighbours])
            self._take(number, there.get(number), size_bytes, version)

    def _take(self, number: int, source: Source | None, likely_bytes: int, version: int) -> None:
        """Look at a segment; give it the header and the length that it needs."""
        if source is None:
            source = Source(number, 0, "the segment is missing", lambda size, offset: b"")
        header = source.header
        if isinstance(header, Header):
            why = "the segment's header is another one's"
            size_bytes = header.size_bytes
            is_good = header.number == number and header.uid == self._uid
        else:
            why = header
            is_good = False
            whole = source.size_bytes >= self._sizes.smallest
            size_bytes = source.size_bytes if whole else likely_bytes
        is_cut = source.size_bytes < size_bytes
        if not is_good:
            header = Header(number, size_bytes, self._uid, recycled=True, version=version)
        self._sources[number] = replace(source, size_bytes=max(size_bytes, source.size_bytes))
        self._sources[number] = replace(self._sources[number], header=header)
        self._patches[number] = []
        if is_cut:
            if is_good:
                why = f"the file ends here, and was made with {size_bytes} bytes"
            self._cut[number] = Damage(number, source.size_bytes, why)
        elif not is_good:
            self.losses.append(Loss(Damage(number, 0, why), 0, 0))
        if is_cut or not is_good:
            assert isinstance(header, Header)
            self.add(Patch(number, 0, header.encode(), size_bytes if is_cut else None))

    def add(self, patch: Patch) -> None:
        """Write this, too."""
        self.all.append(patch)
        self._patches[patch.number].append(patch)

    def fill_to_the_end(self, found: Found) -> Loss | None:
        """Where the log ends in a segment that was cut, or right before one, nobody knows which
        records were in the rest of it: fill it with a hole. Returns what is lost, None when there
        is no such segment (any more)."""
        for number in (found.active, found.active + 1):
            damage = self._cut.get(number)
            if damage is None or (number != found.active and found.chain.end is None):
                continue
            start = max(found.end, position_of(number, HEADER_SPACE))
            stop = position_of(number, self._sources[number].size_bytes)
            del self._cut[number]
            if stop - start >= HEADER_BYTES:
                self.add(last_hole(found, start, stop, seed_of(self._uid)))
            lost = stop - max(start, position_of(number, damage.offset))
            return Loss(damage, None, max(0, lost))
        if not self._cut:
            return None
        # What follows says what was in it, or that nothing was.
        number, damage = self._cut.popitem()
        return Loss(damage, 0, 0)

    def survey(self) -> Survey:
        """Return the log with its patches."""
        sources = [
            replace(source, read=_patched(source, self._patches[number]))
            for number, source in self._sources.items()
        ]
        return Survey(sources, self._span)


def _patched(source: Source, patches: Sequence[Patch]) -> Callable[[int, int], bytes]:
    """Return what reads a segment as it would be: with zeros where it was cut, and its patches."""

    def read(size: int, offset: int) -> bytes:
        size = max(0, min(size, source.size_bytes - offset))
        data = bytearray(source.read(size, offset).ljust(size, b"\0"))
        for patch in patches:
            start = max(patch.offset, offset)
            stop = min(patch.offset + len(patch.data), offset + len(data))
            if start < stop:
                piece = patch.data[start - patch.offset : stop - patch.offset]
                data[start - offset : stop - offset] = piece
        return bytes(data)

    return read
