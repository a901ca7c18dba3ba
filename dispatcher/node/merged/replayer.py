"""`surface.Replayer` over several parts: the history of one after that of another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from dispatcher.errors import Refused
from dispatcher.queue.admin.surface import (
    MOST_DESTINATIONS,
    Course,
    Extent,
    HistoryFilter,
    PartReplayer,
    Place,
    Replayed,
)
from dispatcher.queue.refusals import MOVED


class MergedReplayer:
    """Implements `surface.Replayer`. A place is in one partition, and those with lower numbers are
    done; a copy lies in the partition of its original."""

    def __init__(self, parts: Iterable[PartReplayer] = (), *, keeps_history: bool) -> None:
        """Those that there are; there is one at least when it is asked for something."""
        self.keeps_history = keeps_history
        self._parts = {part.partition: part for part in parts}

    def add(self, part: PartReplayer) -> None:
        """There is another part."""
        self._parts[part.partition] = part

    def remove(self, number: int) -> None:
        """There is no such part any more. Idempotent."""
        self._parts.pop(number, None)

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
        extents = {part.partition: await part.extent() for part in parts}  # of one moment, about
        if after is not None:
            parts = [part for part in parts if part.partition >= after.partition]
            extents[after.partition] = replace(extents[after.partition], place=after)
        sums = _Sums(sum(extents[part.partition].log_bytes for part in parts))
        for part in parts:
            sums.begin(extents[part.partition])
            place = extents[part.partition].place
            told = part.replay(which, to=to, dry_run=dry_run, after=place, course=course)
            async with aclosing(told) as steps:
                async for step in steps:
                    sums.reached(step)
                    if not step.is_done:
                        yield sums.told()
            if not sums.is_whole:
                return
        yield sums.told(is_done=True)


@dataclass(slots=True)
class _Sums:
    """What was done in all parts. `is_whole`: to the end of the one that was begun last."""

    log_bytes: int
    is_whole: bool = False
    before: Replayed | None = None
    now: Replayed | None = None
    destinations: dict[str, tuple[int, int]] = field(default_factory=dict)
    unnamed: int = 0

    def begin(self, extent: Extent) -> None:
        """The history of a part begins."""
        self.before = self.now
        self.is_whole = False
        self.now = _together(self.before, Replayed(0, 0, None, None, 0, 0, 0, extent.place))

    def reached(self, step: Replayed) -> None:
        """A part has come so far."""
        self.now = _together(self.before, step)
        if step.is_done:
            self.is_whole = True
            for name, count, size_bytes in step.destinations:
                counted, sized = self.destinations.get(name, (0, 0))
                self.destinations[name] = (counted + count, sized + size_bytes)
            self.unnamed += step.destinations_total - len(step.destinations)

    def told(self, *, is_done: bool = False) -> Replayed:
        """As it is told."""
        assert self.now is not None
        told = replace(
            self.now,
            log_bytes=max(self.log_bytes, self.now.read_bytes),
            is_done=is_done,
            destinations=(),
            destinations_total=0,
        )
        if not is_done:
            return told
        every = [(name, *figures) for name, figures in self.destinations.items()]
        largest = sorted(every, key=lambda one: (-one[1], one[0]))[:MOST_DESTINATIONS]
        total = len(every) + self.unnamed
        return replace(told, destinations=largest, destinations_total=total)


def _together(before: Replayed | None, now: Replayed) -> Replayed:
    if before is None:
        return now
    first = [at for at in (before.first_us, now.first_us) if at is not None]
    last = [at for at in (before.last_us, now.last_us) if at is not None]
    return replace(
        now,
        messages=before.messages + now.messages,
        size_bytes=before.size_bytes + now.size_bytes,
        first_us=min(first, default=None),
        last_us=max(last, default=None),
        read_bytes=before.read_bytes + now.read_bytes,
        unreadable=before.unreadable + now.unreadable,
    )
