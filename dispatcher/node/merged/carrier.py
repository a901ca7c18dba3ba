"""`surface.Carrier` over several parts: exports have what each has, imports go where keys meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from dispatcher.core.idempotency import begin_print, print_of
from dispatcher.core.meeting import keys_of
from dispatcher.core.message import Message
from dispatcher.core.placing import FIRST, partition_of, place_of
from dispatcher.errors import Refused
from dispatcher.node.meeting import Meeting
from dispatcher.queue.admin.surface import (
    AnyCarried,
    Carried,
    CarriedCall,
    Carrier,
    Death,
    IncomingCall,
    LetterFilter,
)
from dispatcher.queue.refusals import MOVED


class MergedCarrier:
    """Implements `surface.Carrier`."""

    def __init__(self, spread: int, meeting: Meeting | None = None) -> None:
        """Places are spread over so many partitions (`core.placing`), and were over others before
        where there is a `meeting`."""
        self._spread = spread
        self._meeting = meeting
        self._parts: dict[int, Carrier] = {}
        self.expected: frozenset[int] = frozenset()

    def add(self, number: int, part: Carrier) -> None:
        """A partition is open."""
        self._parts[number] = part

    def remove(self, number: int) -> None:
        """It has left. Idempotent."""
        self._parts.pop(number, None)

    async def waiting(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[AnyCarried]:
        """See `Carrier.waiting`."""
        for part in self._every():
            async for one in part.waiting(destination, label=label):
                yield one

    async def dead(self, which: LetterFilter) -> AsyncIterator[AnyCarried]:
        """See `Carrier.dead`. Of each part one letter is at hand, and no more: its body may be read
        once, before its next one is asked for."""
        parts = [part.dead(which) for part in self._every()]
        at_hand: list[tuple[int, int, AnyCarried]] = []
        for number, letters in enumerate(parts):
            async for one in letters:
                at_hand.append((_died_at(one), number, one))
                break
        while at_hand:
            first = min(at_hand, key=lambda found: found[:2])
            at_hand.remove(first)
            _, number, letter = first
            yield letter
            async for one in parts[number]:
                at_hand.append((_died_at(one), number, one))
                break

    async def everything(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[AnyCarried]:
        """See `Carrier.everything`: a message dies in the partition in which it waits."""
        for part in self._every():
            async for one in part.everything(destination, label=label):
                yield one

    async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> bool:
        """See `Carrier.take`."""
        terms = message.terms
        place = place_of(message.destination.key, terms)
        if place and terms is not None and self._meeting is not None:
            printer = begin_print(message.head)
            for piece in body:
                printer.update(piece)
            terms = replace(terms, request_print=print_of(printer))
            keys = keys_of(message.destination.key, terms)
            placement = await self._meeting.placed(place, keys)
            try:
                return await self._of(placement.number).take(message, body, death)
            finally:
                placement.done()
        number = partition_of(place, self._spread) if place else min(self._parts, default=0)
        return await self._of(number).take(message, body, death)

    async def take_call(self, call: IncomingCall, body: Sequence[bytes]) -> bool:
        """See `Carrier.take_call`."""
        return await self._of(FIRST).take_call(call, body)

    def _every(self) -> list[Carrier]:
        """All that there are: what is exported is not to lack a part without a word."""
        if self.expected - self._parts.keys():
            raise Refused(MOVED)
        return [self._parts[number] for number in sorted(self._parts)]

    def _of(self, number: int) -> Carrier:
        if number not in self._parts:
            raise Refused(MOVED)
        return self._parts[number]


def _died_at(one: AnyCarried) -> int:
    """When it was given up; of what cannot be read nobody knows, and it comes first."""
    if isinstance(one, CarriedCall):
        return one.detail.letter.dead_at_us
    if isinstance(one, Carried) and one.death is not None:
        return one.death.dead_at_us
    return 0
