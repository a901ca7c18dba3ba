"""`surface.Replayer` over several parts: the history of one after that of another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from dispatcher.errors import Refused
from dispatcher.queue.admin.replaying import Replaying, Tally
from dispatcher.queue.admin.surface import Course, HistoryFilter, Place, Replayed
from dispatcher.queue.refusals import MOVED


class MergedReplayer:
    """Implements `surface.Replayer`. A place is in one partition, and those with lower numbers are
    done; a copy lies in the partition of its original."""

    def __init__(self, parts: Sequence[Replaying]) -> None:
        """All that there are, one at least."""
        self._parts = {part.partition: part for part in parts}

    @property
    def keeps_history(self) -> bool:
        """See `Replayer.keeps_history`."""
        return all(part.keeps_history for part in self._parts.values())

    async def replay(
        self,
        which: HistoryFilter,
        *,
        to: str | None = None,
        dry_run: bool = False,
        after: Place | None = None,
        course: Course | None = None,
    ) -> AsyncGenerator[Replayed, None]:
        """See `Replayer.replay`: in the order of delivery in each partition.

        Raises:
            Refused: `after` is in a partition that is not here.
        """
        if after is not None and after.partition not in self._parts:
            raise Refused(MOVED)
        course = course or Course()
        parts = [self._parts[number] for number in sorted(self._parts)]
        places = {part.partition: await part.all_of_it() for part in parts}  # of one moment, about
        if after is not None:
            parts = [part for part in parts if part.partition >= after.partition]
            places[after.partition] = after
        tally = Tally(sum(part.log_bytes for part in parts), places[parts[0].partition])
        for part in parts:
            place = places[part.partition]
            told = part.go_on(tally, which, place, to=to, dry_run=dry_run, course=course)
            async with aclosing(told) as steps:
                async for step in steps:
                    yield step
            if not tally.is_whole:
                return
        yield tally.snapshot(is_done=True)
