"""What is in the results' log: index, chunks and stretches of the log, kept in step.

Every change of it goes through here; nothing here does I/O. `visit` takes a log in that is opened.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, cast

from dispatcher.errors import LogTooNew
from dispatcher.functions.results.index import Index
from dispatcher.functions.results.known import Known
from dispatcher.functions.results.records import (
    ResultFacts,
    ResultKind,
    decode_forgotten,
    decode_known,
    key_of,
    parts_of_key,
    result_facts,
)
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.queue.pending.extents import Extent, Extents
from dispatcher.queue.pending.owned import owned_sizes
from dispatcher.queue.records.kinds import OVERHEAD_BYTES, Kind

_AT_ONCE: Final = 250
"""Results that are dropped before others get their turn: a millisecond."""
_FOR_EVER_S: Final = 1 << 32

Chunk = tuple[int, int]
"""Position and size of a chunk record."""


class Holdings:
    """`index` has the results, `chunks` the chunk records of large ones by the call's key, `known`
    what was ever there. `live_bytes` is what the results take in the log; `lost`, after a start,
    are keys of large results of which a part is missing: the log was damaged, and repaired.
    """

    def __init__(self, policy: ResultPolicy) -> None:
        self._policy = policy
        self._visited: set[int] = set()  # chunks, while the log is opened
        self._first: int | None = None
        self.index = Index()
        self.known = Known()
        self.extents = Extents(policy.extent_bytes)
        self.chunks: dict[int, list[Chunk]] = {}
        self.live_bytes = 0
        self.lost: set[int] = set()

    # A log that is opened.

    def visit(self, position: int, payload: bytes) -> None:
        """Take in a record, in order.

        Raises:
            LogTooNew: a newer version wrote it.
        """
        if self._first is None:
            self._first = position
        kind = payload[0]
        if kind == ResultKind.RESULT:
            facts = result_facts(payload)
            if facts.chunks is None or self._visited.issuperset(facts.chunks):
                self.enter(facts, position, len(payload) + OVERHEAD_BYTES)
                return
            # Where a chunk was trimmed the result had expired. Otherwise a repair left it out.
            if min(facts.chunks) >= self._first:
                self.lost.add(key_of(facts.incarnation, facts.number))
            self.forget(facts.incarnation, facts.number)
            self.known.add(facts.incarnation, facts.number)
        elif kind == ResultKind.FORGOTTEN:
            for incarnation, number in decode_forgotten(payload):
                self.lost.discard(key_of(incarnation, number))
                self.forget(incarnation, number)
        elif kind == ResultKind.KNOWN:
            for known in decode_known(payload):
                self.known.add_range(known)
        elif kind == Kind.CHUNK:
            self._visited.add(position)
        elif kind != Kind.NOTHING:
            raise LogTooNew(kind)
        self.extents.note(position, len(payload) + OVERHEAD_BYTES)

    def opened(self) -> None:
        """Every record was visited."""
        self._visited = set()

    # Results come and go.

    def enter(self, facts: ResultFacts, position: int, size: int) -> None:
        """The record of a result, `size` bytes, is durable at `position`, the highest so far. It
        takes the place of one with the same key; its chunks, noted before, are held from here."""
        incarnation, number, ended_us, result_bytes, chunks = facts
        self.forget(incarnation, number)
        slot = self.index.add(incarnation, number, position=position, size=size, ended_us=ended_us)
        self.extents.put(position, slot, size)
        self.live_bytes += size
        self.known.add(incarnation, number)
        if chunks is not None:
            self._hold_chunks(key_of(incarnation, number), chunks, result_bytes)
        if self.lost:
            self.lost.discard(key_of(incarnation, number))

    def _hold_chunks(self, key: int, positions: array[int], result_bytes: int) -> None:
        chunks = self.chunks[key] = owned_sizes(positions, result_bytes)
        for position, size in chunks:
            self.extents.hold(position, size, key)
            self.live_bytes += size

    def forget(self, incarnation: int, number: int) -> bool:
        """A result is not needed any more; False when there is none."""
        slot = self.index.find(incarnation, number)
        if slot < 0:
            return False
        self._drop(slot)
        return True

    def _drop(self, slot: int) -> None:
        index = self.index
        if self.chunks:
            key = key_of(index.incarnation[slot], index.id_position[slot])
            for position, size in self.chunks.pop(key, ()):
                self.extents.release(position, size, key)
                self.live_bytes -= size
        size = index.sizes[slot]
        self.extents.release(index.position[slot], size)
        self.live_bytes -= size
        index.remove(slot)

    # Expiry, from the beginning of the log.

    def is_surplus(self) -> bool:
        """Whether there is more than may be kept. Costs nothing."""
        return self._is_too_much(self.extents.oldest, self.extents.span_bytes)

    def is_past(self, now_us: int) -> bool:
        """Whether the oldest stretch of the log has results, and all are past their time."""
        oldest = self.extents.oldest
        return bool(oldest.live) and self._is_past(oldest, self._policy.expired_until_s(now_us))

    def expire(self, now_us: int) -> Iterator[int]:
        """Drop the results of the oldest stretches of the log that are past their time, or more
        than what may be kept. A slice at a time: yields how many were dropped, and others may run
        then, but for `droppable`."""
        until_s = self._policy.expired_until_s(now_us)
        span_bytes = self.extents.span_bytes
        for extent in list(self.extents):
            is_too_much = self._is_too_much(extent, span_bytes)
            if not is_too_much and not self._is_past(extent, until_s):
                return
            yield from self._drop_all(extent, _FOR_EVER_S if is_too_much else until_s)
            span_bytes -= extent.filled

    def _is_too_much(self, extent: Extent, span_bytes: int) -> bool:
        """Whether a stretch is to go, which is the oldest of so many bytes. The newest stays,
        however large it is."""
        most_bytes = self._policy.max_bytes
        return 0 < most_bytes < span_bytes and extent is not self.extents.current

    def _is_past(self, extent: Extent, until_s: int) -> bool:
        ended_s = self.index.ended_s
        if extent.slots:  # nearly always the one that ended last: a look at all of them is rare
            newest = extent.slots[-1]
            if self._is_at(newest, extent.start + extent.offsets[-1]) and ended_s[newest] > until_s:
                return False
        slots = [slot for position, slot in extent.entries() if self._is_at(slot, position)]
        slots += self._owners(extent)
        return bool(slots or not extent.live) and all(ended_s[slot] <= until_s for slot in slots)

    def _owners(self, extent: Extent) -> list[int]:
        """Slots of the large results with a chunk in a stretch."""
        return [self.index.find(*parts_of_key(cast(int, key))) for key in extent.owners]

    def _drop_all(self, extent: Extent, until_s: int) -> Iterator[int]:
        """Drop the results with a record, or a chunk, in a stretch, that ended until then."""
        count = 0
        for position, slot in extent.entries():
            if self._is_at(slot, position) and self.index.ended_s[slot] <= until_s:
                self._drop(slot)
                count += 1
                if count == _AT_ONCE:
                    yield count
                    count = 0
        for slot in self._owners(extent):
            if self.index.ended_s[slot] <= until_s:
                self._drop(slot)
                count += 1
        yield count

    # Looking around.

    def newest(self, before: int | None, most: int) -> list[int]:
        """Positions of results below one (None: of all), the last stored first, at most `most`."""
        found: list[int] = []
        for extent in reversed(list(self.extents)):
            if before is not None and extent.start >= before:
                continue
            offsets, slots, start = extent.offsets, extent.slots, extent.start
            at = len(offsets) if before is None else bisect_left(offsets, before - start)
            while at:
                at -= 1
                position = start + offsets[at]
                if self._is_at(slots[at], position):
                    found.append(position)
                    if len(found) == most:
                        return found
        return found

    def _is_at(self, slot: int, position: int) -> bool:
        """Whether a slot, which may have been freed and used again since, is of the result at this
        position."""
        positions = self.index.position
        return slot < len(positions) and positions[slot] == position

    def droppable(self, *, is_full: bool) -> int | None:
        """Forget stretches of the log's beginning in which nothing is needed; returns the position
        up to which the log can be trimmed. None: nothing has changed."""
        current = self.extents.current
        if not current.live and current.filled > (0 if is_full else self.extents.extent_bytes // 4):
            self.extents.cut()
        return self.extents.drop_dead()
