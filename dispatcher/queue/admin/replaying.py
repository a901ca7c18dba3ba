"""Replay from history: what was delivered is sent once more, as new messages.

Each copy has an id of its own and attempts from 1, and is accepted as a caller's message is. What
is read ends where the log ended at the start, so no copy is ever copied by the replay that made it.
Where nothing is accepted for a while (a full disk, a full backlog) the replay waits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.admin.copying import Copying
from dispatcher.queue.admin.course import Course
from dispatcher.queue.admin.history import MOST_AT_ONCE, History, Step
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import (
    MOST_DESTINATIONS,
    Extent,
    HistoryFilter,
    Place,
    Replayed,
)
from dispatcher.queue.commit.settlements import Settlements
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.refusals import GONE, SHUTTING_DOWN

AGAIN_SECONDS: Final = 1.0
"""After this long a message that was refused is sent again."""
_FINAL: Final = (*GONE, SHUTTING_DOWN)


class Replaying:
    """A `surface.Replayer` for one partition."""

    def __init__(
        self,
        parts: Parts,
        intake: Intake,
        settlements: Settlements,
        pace: Pace,
        *,
        keeps_history: bool,
    ) -> None:
        self.keeps_history = keeps_history
        self._parts = parts
        self._intake = intake
        self._settlements = settlements
        self.partition = parts.partition
        self._history = History(parts.log, pace, partition=parts.partition)

    async def extent(self) -> Extent:
        """See `PartReplayer.extent`."""
        return Extent(await self._all_of_it(), self._log_bytes)

    async def replay(
        self,
        which: HistoryFilter,
        *,
        to: str | None = None,
        dry_run: bool = False,
        after: Place | None = None,
        course: Course | None = None,
    ) -> AsyncGenerator[Replayed, None]:
        """See `Replayer.replay`."""
        place = await self._all_of_it() if after is None else after
        tally = Tally(self._log_bytes, place)
        course = course or Course()
        told = self._go_on(tally, which, place, to=to, dry_run=dry_run, course=course)
        async with aclosing(told) as steps:
            async for step in steps:
                yield step
        if tally.is_whole:
            yield tally.snapshot(is_done=True)

    @property
    def _log_bytes(self) -> int:
        return self._parts.log.size_bytes

    async def _all_of_it(self) -> Place:
        """Before everything that was delivered by now."""
        if self._settlements.waiting:
            with suppress(Refused):  # the disk is full: those few are not written down yet
                await self._settlements.durable()
        return Place(0, 0, self._parts.log.bounds().end, self.partition)

    async def _go_on(
        self,
        tally: Tally,
        which: HistoryFilter,
        after: Place,
        *,
        to: str | None,
        dry_run: bool,
        course: Course,
    ) -> AsyncGenerator[Replayed, None]:
        """Do what lies behind a place of this partition; the tally says how far it is, and whether
        it came to the end."""
        copying = Copying(self._parts, self._intake, None if to is None else Destination.parse(to))
        delivered = self._history.delivered(
            which, after, most=partial(course.portion, MOST_AT_ONCE)
        )
        async with aclosing(delivered) as steps:
            async for step in steps:
                left = step.messages
                if dry_run:
                    tally.add(left)
                    left = []
                while left and await course.turn():
                    done, left, refusal = await copying.copy(left)
                    tally.add(done)
                    tally.unreadable += copying.damaged()
                    course.did(len(done))
                    if refusal in _FINAL:
                        raise Refused(refusal)
                    if refusal is not None:
                        yield tally.snapshot(waiting=refusal)
                        await course.rest(AGAIN_SECONDS)
                if course.ends():
                    return
                tally.reached(step)
                yield tally.snapshot()
        tally.is_whole = True


@dataclass(slots=True)
class Tally:
    """What was done so far. `is_whole`: to the end."""

    log_bytes: int
    place: Place
    messages: int = 0
    size_bytes: int = 0
    first_us: int | None = None
    last_us: int | None = None
    read_bytes: int = 0
    unreadable: int = 0
    is_whole: bool = False
    destinations: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, messages: list[Message]) -> None:
        """Count these originals."""
        for message in messages:
            at = message.accepted_at
            self.messages += 1
            self.size_bytes += message.body_size
            self.first_us = at if self.first_us is None else min(self.first_us, at)
            self.last_us = at if self.last_us is None else max(self.last_us, at)
            name = str(message.destination)
            count, size_bytes = self.destinations.get(name, (0, 0))
            self.destinations[name] = (count + 1, size_bytes + message.body_size)

    def reached(self, step: Step) -> None:
        """All of a step is done."""
        self.place = step.place
        self.read_bytes = step.read_bytes
        self.unreadable += step.unreadable

    def snapshot(self, *, waiting: Refusal | None = None, is_done: bool = False) -> Replayed:
        """As it is told."""
        largest: list[tuple[str, int, int]] = []
        if is_done:
            every = [(name, *figures) for name, figures in self.destinations.items()]
            largest = sorted(every, key=lambda one: (-one[1], one[0]))[:MOST_DESTINATIONS]
        return Replayed(
            self.messages,
            self.size_bytes,
            self.first_us,
            self.last_us,
            self.read_bytes,
            max(self.log_bytes, self.read_bytes),
            self.unreadable,
            self.place,
            waiting,
            is_done,
            largest,
            len(self.destinations) if is_done else 0,
        )
