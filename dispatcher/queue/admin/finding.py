"""Finding the messages that an operator means, before anything is done to them.

So it is known how many there are, and a filter means what waited when it was asked for, however
long the work takes. A message is remembered by its name, which it keeps wherever it is copied. When
its turn comes it is looked at again: one that has ended since, or that goes to another destination
by now, is left alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Final

from dispatcher.queue.admin.course import Course
from dispatcher.queue.admin.looking import Looking
from dispatcher.queue.admin.message_filter import MessageFilter
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.waiting import SLICE, Waiting
from dispatcher.queue.pending.index import Name, State
from dispatcher.queue.records.ids import wire_id

_EVERY: Final = MessageFilter()


class Found:
    """Names of messages: 12 bytes each, as there may be millions. They are kept in runs that are in
    order: one, but for messages that were copied forward in the log."""

    def __init__(self) -> None:
        self._runs: list[tuple[array[int], array[int]]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, names: Sequence[Name]) -> None:
        """Take in some more, in any order."""
        if not names:
            return
        names = sorted(names)
        if not self._runs or names[0] < (self._runs[-1][0][-1], self._runs[-1][1][-1]):
            self._runs.append((array("Q"), array("I")))
        for run, values in zip(self._runs[-1], zip(*names, strict=True), strict=True):
            run.extend(values)
        self._count += len(names)

    def oldest_first(self) -> Iterator[Name]:
        """All of them, in the order in which they were accepted."""
        return merge(*(zip(*run, strict=True) for run in self._runs))


class Finding:
    """Finds waiting messages of one partition, and changes nothing."""

    def __init__(self, parts: Parts, waiting: Waiting, looking: Looking, pace: Pace) -> None:
        self._parts = parts
        self._waiting = waiting
        self._looking = looking
        self._pace = pace

    async def all(
        self, which: MessageFilter | Sequence[str], not_found: list[str], course: Course
    ) -> Found:
        """All that are meant now; those found so far, once the course is to end. Ids of none that
        waits are added to `not_found`."""
        found = Found()
        if isinstance(which, MessageFilter):
            async for run in self._waiting.runs(which, stored_before=self._waiting.end):
                found.add(self._names(run.slots))
                if course.ends():
                    break
            return found
        ids = list(dict.fromkeys(which))
        for start in range(0, len(ids), SLICE):
            if start:
                await self._pace.rest()
            found.add(self._names(self.slots(ids[start : start + SLICE], not_found)))
            if course.ends():
                break
        return found

    def slots(self, ids: Sequence[str], not_found: list[str]) -> list[int]:
        """Slots of those of these messages that wait; the ids of the others are added to
        `not_found`."""
        slots = {one: self._waits(one) for one in ids}
        not_found += [one for one, slot in slots.items() if slot < 0]
        return [slot for slot in slots.values() if slot >= 0]

    def still(self, names: Sequence[Name], which: MessageFilter = _EVERY) -> dict[Name, int]:
        """Slots of those of these messages that wait still and match, as far as the index knows."""
        index, states = self._parts.pending.index, which.states
        lane = self._waiting.lane_of(which)
        found: dict[Name, int] = {}
        for name in names:
            slot = self._parts.pending.find(*name)
            if slot < 0 or index.state[slot] not in states or lane not in (None, index.lane[slot]):
                continue
            if not which.means(self._parts.pending, slot):
                continue
            if not which.held or self._waiting.is_held(slot):
                found[name] = slot
        return found

    def id_of(self, name: Name) -> str:
        """The id of a message."""
        position, incarnation = name
        return wire_id(self._parts.partition, incarnation, position).decode("ascii")

    def _names(self, slots: Sequence[int]) -> list[Name]:
        index = self._parts.pending.index
        return [index.name_of(slot) for slot in slots]

    def _waits(self, message_id: str) -> int:
        """The slot of a message that waits, -1: it does not."""
        slot = self._looking.slot(message_id.encode("ascii"))
        is_dead = slot >= 0 and self._parts.pending.index.state[slot] == State.REVIVING
        return -1 if is_dead else slot
