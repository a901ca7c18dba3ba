"""Which keys a partition knows: whether a message with one of them has to lie here too."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.core.idempotency import copy_hash, key_hash
from dispatcher.core.meeting import Key, KeyKind, Keys
from dispatcher.core.placing import group_of
from dispatcher.queue.flow.duplicates import Duplicates
from dispatcher.queue.lanes.line import RULE
from dispatcher.queue.lanes.lines import Lines


class Known:
    """Those of one partition."""

    __slots__ = ("_clock", "_duplicates", "_lines")

    def __init__(self, lines: Lines, duplicates: Duplicates, clock: SteadyClock) -> None:
        self._lines = lines
        self._duplicates = duplicates
        self._clock = clock

    def which(self, keys: Keys) -> int:
        """A bit for each key that is known, the first key's the lowest."""
        found = 0
        for bit, key in enumerate(keys):
            if self._has(key):
                found |= 1 << bit
        return found

    def _has(self, key: Key) -> bool:
        kind, place, text = key
        if kind is KeyKind.ORDER:
            return (place, text) in self._lines.table.orders
        if kind is KeyKind.FLOW:
            return self._has_flow(place, text)
        if kind is KeyKind.GROUP:
            return self._duplicates.knows_group(group_of(place), text)
        if kind is KeyKind.IDEMPOTENCY:
            return self._duplicates.knows(key_hash(place, text))
        if kind is KeyKind.COPY:
            message_id, _, print_ = text.partition(" ")
            return self._duplicates.knows(copy_hash(place, message_id, int(print_, 16)))
        assert_never(kind)

    async def has_old(self, before_us: QueueUs, *, is_misplaced: Callable[[bytes], bool]) -> bool:
        """Whether there is a key of a message that came before an instant, or a line of a place
        that `is_misplaced` here. Others have their turn in between."""
        table = self._lines.table
        for name in list(table.orders):
            if is_misplaced(name[0]):
                return True
        for name in list(table.flows):
            if is_misplaced(name[0]) and self._has_flow(*name):
                return True
        return await self._duplicates.has_old(before_us)

    def _has_flow(self, place: bytes, text: str) -> bool:
        """Whether messages of a flow key are here, or tokens that they took are missing still."""
        line = self._lines.table.flows.get((place, text))
        if line is None or text.startswith(RULE):
            return False
        bucket = line.bucket
        return bool(line.members) or not (bucket is None or bucket.is_full(self._clock.now_us()))
