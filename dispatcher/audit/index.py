"""Where entries lie in the log, and what they are found by: some 50 bytes of memory each."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator

from dispatcher.audit.entries import EntryFilter
from dispatcher.audit.records import Head


class Index:
    """Entries that are in the log, the oldest first. Their instants may go back."""

    def __init__(self) -> None:
        self._positions = array("Q")
        self._numbers = array("Q")
        self._at_us = array("Q")
        self._actions: list[str] = []
        self._keys: list[str | None] = []

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def last(self) -> int:
        """The number of the newest; 0: there is none."""
        return self._numbers[-1] if self._numbers else 0

    def add(self, position: int, head: Head) -> None:
        """One more, the newest."""
        self._positions.append(position)
        self._numbers.append(head.number)
        self._at_us.append(head.at_us)
        self._actions.append(sys.intern(head.action))
        self._keys.append(None if head.key is None else sys.intern(head.key))

    def drop_before(self, position: int) -> int:
        """Those that lie before a position are gone; returns how many."""
        count = bisect_left(self._positions, position)
        for column in (self._positions, self._numbers, self._at_us, self._actions, self._keys):
            del column[:count]
        return count

    def matching(self, which: EntryFilter, before: int | None) -> Iterator[int | None]:
        """Positions of those that match and whose number is below `before`, the newest first; None
        for one that does not match, so that whoever asks can let others have their turn. What comes
        or goes meanwhile is not seen."""
        end = len(self) if before is None else bisect_left(self._numbers, before)
        positions, at_us = self._positions[:end], self._at_us[:end]
        actions, keys = self._actions[:end], self._keys[:end]
        for place in range(end - 1, -1, -1):
            matches = (
                which.action in (None, actions[place])
                and which.key in (None, keys[place])
                and (which.since_us is None or at_us[place] >= which.since_us)
            )
            yield positions[place] if matches else None
