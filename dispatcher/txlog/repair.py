"""Repairing a damaged log: what would be lost, and how to make the rest readable. Decides; changes
nothing itself (`inspect.repair` does).

The records that are left keep their positions, for others name them by it. So what is damaged is
replaced, in place, by frames of type `hole` (see `holes`); a batch that has lost some of its frames
is a whole batch with a hole in it then. Headers that cannot be read are written again, and a
segment that is missing is made, with one hole in it. Nothing else is changed; what is behind the
end of the log (a torn tail) is left to the next start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dispatcher.errors import LogError
from dispatcher.txlog.frame import (
    seed_of,
    segment_of,
)
from dispatcher.txlog.holes import Loss, Patch, close_damage, edge_of
from dispatcher.txlog.scan import Damage, Found, scan
from dispatcher.txlog.segment import VERSION, Header, Sizes, name_of
from dispatcher.txlog.source import Source


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
        if found.chain is None or found.stopped is None:
            raise LogError(f"{name_of(found.number)}: {found.reason}; this cannot be repaired")
        current = [source.as_source() for source in patched]
        edge = edge_of(found.chain, segment_of(found.stopped), current, seed_of(uid))
        if edge.stopped <= reached:
            name = name_of(found.number)
            raise LogError(f"{name}: {found.reason}; a hole does not help. Restore a copy.")
        reached = edge.stopped
        holes, loss = close_damage(found, edge, current, seed_of(uid), sizes)
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
