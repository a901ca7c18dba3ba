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
from typing import Final

from dispatcher.queue.pending.index import NO_SLOT, Index, State

TICK_US = 8192
_SHIFTS = (0, 7, 14)
_SCHEDULED: Final = int(State.SCHEDULED)
"""A bucket keeps slots that are not, until it comes up."""
_NEAR = 256  # buckets of a level that are used before the next coarser level takes over


class Timers:
    """Slots by due time. A slot never expires early, and at most one tick late. `lifted` are those
    that do not wait for their time any more, and are in their buckets still.

    One that is to come sooner gets another `due_at`, and is then taken out of the bucket that it is
    in (`pull`): chained one way, that has to be gone through. Where nobody does that it is due when
    its bucket comes up.
    """

    __slots__ = ("_heads", "_heap", "_index", "_pulled", "count", "lifted")

    def __init__(self, index: Index) -> None:
        self._index = index
        self._heads: dict[int, int] = {}
        self._heap: list[int] = []
        self._pulled = -1  # the bucket that is gone through
        self.count = 0
        self.lifted: set[int] = set()

    def add(self, slot: int, now_us: int) -> None:
        """Chain a slot by its `due_at`. The slot must be in no other chain."""
        self._place(slot, now_us // TICK_US)
        self.count += 1

    def add_all(self, slots: list[int], now_us: int) -> None:
        """Do what `add` does for many slots."""
        now = now_us // TICK_US
        for slot in slots:
            self._place(slot, now)
        self.count += len(slots)

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

    def lift(self, slot: int) -> None:
        """A slot does not wait for its time any more. It may be in no other chain before its bucket
        comes up, or its message is done (`leave_lifted`)."""
        self.count -= 1
        self.lifted.add(slot)

    def lower(self, slot: int) -> bool:
        """A slot that was lifted waits for its time again; False: its bucket has come up."""
        if slot not in self.lifted:
            return False
        self.lifted.remove(slot)
        self.count += 1
        return True

    def leave_lifted(self, slot: int) -> bool:
        """The message of a slot that may be lifted is done; whether the slot is in a bucket still,
        as after `leave`."""
        if slot not in self.lifted:
            return False
        self.lifted.remove(slot)
        return True

    def buckets_of(self, due_at: int) -> list[int]:
        """The buckets in one of which a slot is that is due then."""
        due = -(-due_at // TICK_US)
        found: list[int] = []
        for level in range(len(_SHIFTS)):
            shift = _SHIFTS[level]
            key = (due >> shift << shift) << 2 | level
            if key in self._heads:
                found.append(key)
        return found

    def pull(self, bucket: int, after: int, budget: int) -> tuple[list[int], int, int]:
        """Take slots out of a bucket whose time comes before the bucket's begins, at most `budget`
        steps' worth, from behind the slot `after` on; NO_SLOT: from its beginning.

        Returns them, behind which slot to go on, and what is left of the budget; 0: call again.
        When the bucket's time has come nothing is found, as they expire by themselves then. Only
        one bucket is gone through at a time.
        """
        if after == NO_SLOT:
            self._pulled = bucket
        if self._pulled != bucket:
            return [], NO_SLOT, budget
        links, states, due_at = self._index.next, self._index.state, self._index.due_at
        begin = (bucket >> 2) * TICK_US - TICK_US  # at most this: due in an earlier tick
        slot = self._heads.get(bucket, NO_SLOT) if after == NO_SLOT else links[after]
        pulled: list[int] = []
        budget -= 1
        while slot != NO_SLOT and budget > 0:
            following = links[slot]
            if states[slot] != _SCHEDULED or due_at[slot] > begin:
                after = slot
            else:
                pulled.append(slot)
                if after == NO_SLOT:
                    self._heads[bucket] = following
                else:
                    links[after] = following
            slot = following
            budget -= 1
        self.count -= len(pulled)
        if slot == NO_SLOT:
            self._pulled = -1
        return pulled, after, budget

    def clear(self) -> None:
        """Nothing is pending any more: what is still in a bucket is FREE."""
        self._pulled = -1
        self._heads.clear()
        self._heap.clear()

    def next_at(self) -> int | None:
        """Microseconds since the epoch at which `expire` has something to do; None: never."""
        return (self._heap[0] >> 2) * TICK_US if self._heap else None

    def expire(self, now_us: int, budget: int = 1000) -> list[int]:
        """Take out slots that are due, at most `budget` steps' worth. Those that are FREE by now
        are given back to the index instead, and those that were lifted are left alone.

        When the budget ends the work, `next_at()` is still in the past.
        """
        now = now_us // TICK_US
        due: list[int] = []
        links, states = self._index.next, self._index.state
        while self._heap and budget > 0 and self._heap[0] >> 2 <= now:
            key = heappop(self._heap)
            if key == self._pulled:
                self._pulled = -1
            slot = self._heads.pop(key)
            while slot != NO_SLOT and budget > 0:
                following = links[slot]
                if not states[slot]:
                    self._index.give_back(slot)
                elif self.lifted and slot in self.lifted:
                    self.lifted.remove(slot)
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
