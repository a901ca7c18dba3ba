"""An audit in memory: for tests of the API."""

from __future__ import annotations

from dataclasses import replace

from dispatcher.audit.entries import Entry, EntryFilter, EntryPage
from dispatcher.queue.admin.pace import Pace


class MemoryAudit:
    """Keeps entries, the oldest first. `unkept` is what it says of itself."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.unkept: str | None = None

    def add(self, entry: Entry) -> None:
        """See `Keeper`."""
        self.entries.append(replace(entry, number=len(self.entries) + 1))

    async def written(self) -> None:
        """See `Keeper`."""

    async def page(
        self, which: EntryFilter, *, before: int | None, limit: int, pace: Pace
    ) -> EntryPage:
        """See `Keeper`."""
        found = [
            one
            for one in reversed(self.entries)
            if (before is None or one.number < before) and which.matches(one)
        ]
        return EntryPage(found[:limit], found[limit - 1].number if len(found) > limit else None)
