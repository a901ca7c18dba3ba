"""Extents: which part of the log is still needed, and which slot a position belongs to.

The log is cut, in thought, into stretches of a few MiB in the order of their positions. An extent
counts what is live in it and maps the positions of the message records in it to slots, in two
arrays sorted by position (append order), so that a lookup is two binary searches and costs 8 bytes
a message. What lies before the first extent with something live can be trimmed; the live rest of a
mostly dead first extent is copied forward.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Final

EXTENT_BYTES = 4 * 1024 * 1024
_MAX_OFFSET: Final = 0xFFFFFFFF

Owner = object
"""Whoever needs records besides its own: the slot of a message, the id of a dead letter, a body
that is still coming."""


class Extent:
    """One stretch: `start` is its first position; `live` counts records in it that are needed.

    `owners` has the bytes of records in it that are held for somebody who said so (see
    `Extents.hold`).
    """

    __slots__ = ("filled", "live", "live_bytes", "offsets", "owners", "slots", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.offsets = array("I")
        self.slots = array("I")
        self.owners: dict[Owner, int] = {}
        self.live = 0
        self.live_bytes = 0
        self.filled = 0

    def keep(self, count: int, size_bytes: int) -> None:
        """So many records more are needed in it, or fewer, without entries."""
        self.live += count
        self.live_bytes += size_bytes

    def entries(self) -> Iterator[tuple[int, int]]:
        """Position and slot of every message record that was ever put here, in order of
        position."""
        start = self.start
        for offset, slot in zip(self.offsets, self.slots, strict=True):
            yield start + offset, slot


class Extents:
    """All extents of a log, oldest first. `span_bytes` is what was stored in them, live or dead."""

    __slots__ = ("_current", "_extents", "_last", "_starts", "extent_bytes", "span_bytes")

    def __init__(self, extent_bytes: int = EXTENT_BYTES) -> None:
        self.extent_bytes = extent_bytes
        self.span_bytes = 0
        self._last = -1
        self._extents: deque[Extent] = deque()
        self._starts: list[int] = []
        self._current = Extent(0)
        self._open(self._current)

    def _open(self, extent: Extent) -> Extent:
        self._current = extent
        self._extents.append(extent)
        self._starts.append(extent.start)
        return extent

    def __len__(self) -> int:
        return len(self._extents)

    def __iter__(self) -> Iterator[Extent]:
        return iter(self._extents)

    @property
    def oldest(self) -> Extent:
        """The extent that is trimmed or copied forward next."""
        return self._extents[0]

    @property
    def current(self) -> Extent:
        """The extent that new records fall into."""
        return self._current

    @property
    def end(self) -> int:
        """Above every position that was noted."""
        return self._last + 1

    def note(self, position: int, size: int) -> Extent:
        """Say that a record of `size` bytes was stored at `position`, the highest so far."""
        extent = self._current
        if extent.filled >= self.extent_bytes or position - extent.start > _MAX_OFFSET:
            extent = self._open(Extent(position))
        extent.filled += size
        self.span_bytes += size
        self._last = position
        return extent

    def put(self, position: int, slot: int, size: int) -> None:
        """Enter a live message record, just stored at `position`."""
        extent = self.note(position, size)
        extent.offsets.append(position - extent.start)
        extent.slots.append(slot)
        extent.live += 1
        extent.live_bytes += size

    def put_all(self, positions: list[int], slots: list[int], sizes: list[int]) -> None:
        """Do what `put` does for many records, in the order of their positions."""
        first, count = 0, len(positions)
        while first < count:
            extent = self.note(positions[first], sizes[first])
            start, room, size = extent.start, self.extent_bytes - extent.filled, 0
            at = first + 1
            while at < count and size < room and positions[at] - start <= _MAX_OFFSET:
                size += sizes[at]
                at += 1
            offsets = [position - start for position in positions[first:at]]
            extent.offsets.extend(array("I", offsets))
            extent.slots.extend(array("I", slots[first:at]))
            extent.live += at - first
            extent.live_bytes += size + sizes[first]
            extent.filled += size
            self.span_bytes += size
            self._last = positions[at - 1]
            first = at

    def of(self, position: int) -> Extent:
        """The extent a position lies in (the oldest for anything before it)."""
        extent = self._current
        if position >= extent.start:
            return extent
        return self._extents[max(bisect_right(self._starts, position) - 1, 0)]

    def find(self, position: int) -> int:
        """The slot that was entered for exactly this position, or -1.

        A slot may have been freed and used again since: the caller compares the index.
        """
        extent = self.of(position)
        offset = position - extent.start
        if not 0 <= offset <= _MAX_OFFSET:
            return -1
        offsets = extent.offsets
        at = bisect_left(offsets, offset)
        if at < len(offsets) and offsets[at] == offset:
            return extent.slots[at]
        return -1

    def entries_from(self, position: int, most: int) -> tuple[int, array[int], array[int]]:
        """The next entries at or above a position, at most so many and all of one extent: what
        their offsets count from, the offsets, and their slots. No offsets: there are no more.

        Whose they were may have been settled since, and the slots be used again.
        """
        at = max(bisect_right(self._starts, position) - 1, 0)
        for number in range(at, len(self._extents)):
            extent = self._extents[number]
            begin = bisect_left(extent.offsets, position - extent.start)
            if begin < len(extent.offsets):
                end = begin + most
                return extent.start, extent.offsets[begin:end], extent.slots[begin:end]
        return 0, array("I"), array("I")

    def hold(self, position: int, size: int, owner: Owner | None = None) -> None:
        """Keep the extent of a record, noted before, that is needed without an entry (a chunk).
        `owner` is found by the extent then."""
        extent = self.of(position)
        extent.live += 1
        extent.live_bytes += size
        if owner is not None:
            extent.owners[owner] = extent.owners.get(owner, 0) + size

    def release(self, position: int, size: int, owner: Owner | None = None) -> None:
        """The record at `position` is not needed any more; it was held for this `owner`."""
        extent = self.of(position)
        extent.live -= 1
        extent.live_bytes -= size
        if owner is not None:
            left = extent.owners[owner] - size
            if left:
                extent.owners[owner] = left
            else:
                del extent.owners[owner]

    def before(self, extent: Extent) -> int:
        """The position that everything in this extent and in those before it lies below."""
        at = bisect_right(self._starts, extent.start)
        return self._starts[at] if at < len(self._starts) else self._last + 1

    def drop_dead(self) -> int | None:
        """Forget the oldest extents with nothing live in them.

        Returns the position up to which the log can be trimmed, None when nothing changed. The
        current extent always stays.
        """
        dropped = 0
        while len(self._extents) > 1 and not self._extents[0].live:
            self.span_bytes -= self._extents.popleft().filled
            dropped += 1
        if not dropped:
            return None
        del self._starts[:dropped]
        return self._extents[0].start

    def forget_entries(self) -> None:
        """Nothing is pending: no position belongs to a slot any more."""
        for extent in self._extents:
            extent.offsets = array("I")
            extent.slots = array("I")

    def cut(self) -> None:
        """End the current extent, so that it can be dropped if nothing in it is live."""
        if self._current.filled:
            self._open(Extent(self._last + 1))
