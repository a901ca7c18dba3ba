"""The deadlines of pending messages that have one: which have passed, without a look at the rest.

They are dealt out to buckets of an eighth of a second, and a heap holds one integer a bucket. A
bucket is opened when its time is over, so all that is in it has passed. Who leaves is taken out at
once: else a message that is delivered in a moment would take space until a deadline that may be
years ahead.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

NEVER: Final = 1 << 63
_SHIFT: Final = 17
_FEW: Final = 64


class Deadlines:
    """Deadlines by slot, by the queue's clock. `at` has those that there are."""

    __slots__ = ("_buckets", "_heap", "at")

    def __init__(self) -> None:
        self.at: dict[int, int] = {}
        self._buckets: dict[int, set[int]] = {}
        self._heap: list[int] = []

    def add(self, slot: int, at_us: int) -> None:
        """No attempt of this slot's message may start after `at_us`, whatever was said before."""
        self.remove(slot)
        self.at[slot] = at_us
        self._enter(slot, at_us)

    def _enter(self, slot: int, at_us: int) -> None:
        tick = (at_us >> _SHIFT) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = set()
            heappush(self._heap, tick)
        bucket.add(slot)

    def remove(self, slot: int) -> None:
        """The message of a slot is done. Idempotent."""
        at_us = self.at.pop(slot, None)
        if at_us is None:
            return
        tick = (at_us >> _SHIFT) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            return
        bucket.discard(slot)
        if not bucket:
            del self._buckets[tick]
            if len(self._heap) > 2 * len(self._buckets) + _FEW:
                self._heap = sorted(self._buckets)

    def of(self, slot: int) -> int:
        """When the deadline of a slot's message is; NEVER: it has none."""
        return self.at.get(slot, NEVER)

    def again(self, slot: int, now_us: int) -> None:
        """Give a slot soon once more, if its deadline has passed: it can be given up now."""
        if self.at.get(slot, NEVER) <= now_us:
            self._enter(slot, now_us)

    def passed(self, now_us: int, most: int) -> list[int]:
        """Slots whose deadline has passed, at most `most` of them, each an eighth of a second after
        it at the latest. Each is given once."""
        slots: list[int] = []
        tick = now_us >> _SHIFT
        while self._heap and self._heap[0] <= tick and len(slots) < most:
            bucket = self._buckets.get(self._heap[0])
            while bucket and len(slots) < most:
                slot = bucket.pop()
                if self.at.get(slot, NEVER) <= now_us:  # else it came again, and is done meanwhile
                    slots.append(slot)
            if not bucket:
                self._buckets.pop(heappop(self._heap), None)
        return slots
