"""What is needed in the log, and why: the spans of calls, and what they came from.

For each call the log is kept from its `base` on, so that after a crash everything that made it what
it is happens again: the event that created it, those of the calls above it, and a value that it was
given from outside. Calls with the same root that were never copied have the same base, of the
record that created the root. When all of them are copied their base is the first of the copies.

All of it is counters in the extents: a call that waits has its spans and one number here. Which
calls need an extent is found by their bases; facts and kept results are owners in the extents.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dispatcher.functions.machine import Owner
from dispatcher.functions.model import NONE, Call
from dispatcher.functions.spans import Span, length_of, offset_of, position_of
from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.ports import CHUNK_BYTES

CALL_BYTES: Final = 160
"""What a call takes in the log without its bytes, about."""
SPAN_BYTES: Final = 8
"""What it takes to say how long bytes are, at most."""
_ENDING_BYTES: Final = 256
"""What the record takes that ends a root call and all below it, about."""


class Large:
    """An event whose blobs are in chunks: their positions, of which `first` is the lowest, and how
    many spans of it are held."""

    __slots__ = ("chunks", "first", "held")

    def __init__(self, chunks: array[int]) -> None:
        self.chunks = chunks
        self.first = min(chunks)
        self.held = 0


class Holds:
    """Keeps what is needed (`machine.Holder`).

    `larges` are the events with chunks of which something is needed, by position. `base` is that of
    the event that is being applied, `live_bytes` what all that is held takes. `entered`, while it
    is not None, takes down new calls by their root.
    """

    def __init__(self, extents: Extents) -> None:
        self.larges: dict[int, Large] = {}
        self.base = 0
        self.live_bytes = 0
        self.entered: dict[int, list[Call]] | None = None
        self._roots = 0
        self._extents = extents

    @property
    def ending_bytes(self) -> int:
        """What the records take that end all calls."""
        return self._roots * _ENDING_BYTES

    def enter(self, call: Call, parent: Call | None) -> None:
        """See `Holder`."""
        call.base = self.base if parent is None else parent.base
        self._roots += call.parent == NONE
        self._count(call.base, CALL_BYTES)
        if self.entered is not None:
            self.entered.setdefault(call.root, []).append(call)

    def leave(self, call: Call) -> None:
        """See `Holder`."""
        self._roots -= call.parent == NONE
        self._count(call.base, -CALL_BYTES)

    def copied(self, calls: Sequence[Call], base: int) -> None:
        """See `Holder`."""
        for call in calls:
            self._set_base(call, base)

    def _set_base(self, call: Call, base: int) -> None:
        self._count(base, CALL_BYTES)
        self._count(call.base, -CALL_BYTES)
        call.base = base

    def hold(self, owner: Owner, where: Span) -> None:
        """See `Holder`."""
        call = owner if isinstance(owner, Call) else None
        named = owner if call is None else None
        position = position_of(where)
        large = self.larges.get(position)
        if large is None:  # as most are: without going through its records
            size = length_of(where) + SPAN_BYTES
            self._extents.hold(position, size, named)
            self.live_bytes += size
        else:
            for at, size in _records(large, where):
                self._extents.hold(at, size, named)
                self.live_bytes += size
            large.held += 1
            position = large.first
        if call is not None and position < call.base:
            self._set_base(call, position)

    def release(self, owner: Owner, where: Span) -> None:
        """See `Holder`."""
        named = None if isinstance(owner, Call) else owner
        position = position_of(where)
        large = self.larges.get(position)
        if large is None:
            size = length_of(where) + SPAN_BYTES
            self._extents.release(position, size, named)
            self.live_bytes -= size
            return
        for at, size in _records(large, where):
            self._extents.release(at, size, named)
            self.live_bytes -= size
        large.held -= 1
        if not large.held:
            del self.larges[position]

    def oldest(self, spans: Iterable[Span], position: int) -> int:
        """The lowest position of the records that have these bytes; at most `position`."""
        for where in spans:
            position = min(position, position_of(where))
            large = self.larges.get(position_of(where))
            if large is not None:
                position = min(position, large.first)
        return position

    def forget_unused(self) -> None:
        """Drop what is known of events of which nothing is needed."""
        self.larges = {at: large for at, large in self.larges.items() if large.held}

    def _count(self, position: int, size: int) -> None:
        self.live_bytes += size
        if size > 0:
            self._extents.hold(position, size)
        else:
            self._extents.release(position, -size)


def _records(large: Large, where: Span) -> Iterator[tuple[int, int]]:
    """The records that have these bytes of a large event, and how many of them each."""
    yield position_of(where), SPAN_BYTES
    yield large.first, SPAN_BYTES  # without all its chunks an event means nothing after a crash
    for number, start, end in covering(where):
        yield large.chunks[number], end - start


def covering(where: Span) -> Iterator[tuple[int, int, int]]:
    """The chunks that have these bytes: number, and from where to where in it."""
    start = offset_of(where)
    end = start + length_of(where)
    while start < end:
        number, at = divmod(start, CHUNK_BYTES)
        size = min(end - start, CHUNK_BYTES - at)
        yield number, at, at + size
        start += size
