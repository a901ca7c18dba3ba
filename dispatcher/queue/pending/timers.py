"""Timers for millions of scheduled messages: no object each, no scan.

Slots are chained into buckets through `Index.next`. A bucket covers 8 ms when it is near, 1 s when
it is a few seconds away, 131 s beyond that; when a coarse bucket's time begins, its slots are dealt
out to finer ones. A heap holds one integer for each bucket that is not empty. Adding is O(1) but
for the heap of buckets, and what one call of `expire` does is bounded by its budget, so that a
bucket of a million slots does not stop the loop.

After Varghese and Lauck, "Hashed and hierarchical timing wheels" (SOSP 1987), with a heap of
buckets in place of the turning wheel, so that an idle server sleeps.
"""

from __future__ import annotations

from heapq import heappop, heappush

from dispatcher.queue.pending.index import NO_SLOT, Index

TICK_US = 8192
_SHIFTS = (0, 7, 14)
_NEAR = 256  # buckets of a level that are used before the next coarser level takes over


class Timers:
    """Slots by due time. A slot never expires early, and at most one tick late."""

    __slots__ = ("_heads", "_heap", "_index", "count")

    def __init__(self, index: Index) -> None:
        self._index = index
        self._heads: dict[int, int] = {}
        self._heap: list[int] = []
        self.count = 0

    def add(self, slot: int, now_us: int) -> None:
        """Chain a slot by its `due_at`. The slot must be in no other chain."""
        self._place(slot, now_us // TICK_US)
        self.count += 1

    def _place(self, slot: int, now: int) -> None:
        due = -(-self._index.due_at[slot] // TICK_US)
        distance = due - now
        level = 0 if distance < _NEAR else 1 if distance < _NEAR << 7 else 2
        shift = _SHIFTS[level]
        key = (due >> shift << shift) << 2 | level
        head = self._heads.get(key)
        if head is None:
            heappush(self._heap, key)
            head = NO_SLOT
        self._index.next[slot] = head
        self._heads[key] = slot

    def leave(self) -> None:
        """A message was settled before it is due. Its slot stays in its bucket, FREE, until that
        comes up: to find it there would take as long as the bucket is."""
        self.count -= 1

    def clear(self) -> None:
        """Nothing is pending any more: what is still in a bucket is FREE."""
        self._heads.clear()
        self._heap.clear()

    def next_at(self) -> int | None:
        """Microseconds since the epoch at which `expire` has something to do; None: never."""
        return (self._heap[0] >> 2) * TICK_US if self._heap else None

    def expire(self, now_us: int, budget: int = 1000) -> list[int]:
        """Take out slots that are due, at most `budget` steps' worth. Those that are FREE by now
        are given back to the index instead.

        When the budget ends the work, `next_at()` is still in the past.
        """
        now = now_us // TICK_US
        due: list[int] = []
        links, states = self._index.next, self._index.state
        while self._heap and budget > 0 and self._heap[0] >> 2 <= now:
            key = heappop(self._heap)
            slot = self._heads.pop(key)
            while slot != NO_SLOT and budget > 0:
                following = links[slot]
                if not states[slot]:
                    self._index.give_back(slot)
                elif key & 3:  # a coarse bucket: always dealt out to finer ones, never to itself
                    self._place(slot, max(now, key >> 2))
                else:
                    due.append(slot)
                slot = following
                budget -= 1
            if slot != NO_SLOT:
                heappush(self._heap, key)
                self._heads[key] = slot
        self.count -= len(due)
        return due
