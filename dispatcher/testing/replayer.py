"""A `Replayer` in memory: what it is told to have is what it tells."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from dispatcher.queue.admin.surface import Course, HistoryFilter, Place, Replayed

BEGIN = Replayed(0, 0, None, None, 0, 100, 0, Place(0, 0, 1000))
"""What is told first."""


class MemoryReplayer:
    """Tells `steps`, and raises `error` then, if there is one. `asked` is what replays were asked
    for."""

    def __init__(self) -> None:
        self.keeps_history = True
        self.steps: list[Replayed] = [BEGIN]
        self.error: Exception | None = None
        self.asked: list[tuple[HistoryFilter, dict[str, Any]]] = []
        self.closed = 0

    async def replay(
        self,
        which: HistoryFilter,
        *,
        to: str | None = None,
        dry_run: bool = False,
        after: Place | None = None,
        course: Course | None = None,
    ) -> AsyncGenerator[Replayed, None]:
        """See `Replayer`."""
        course = course or Course()
        how = {"to": to, "rate": course.rate, "dry_run": dry_run, "after": after}
        self.asked.append((which, how))
        try:
            for told in self.steps:
                course.done = told.messages
                yield told
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1
