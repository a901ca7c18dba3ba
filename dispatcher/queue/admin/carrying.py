"""Messages on their way out of a partition: what is exported stays where it is.

Nothing is held for a reader, however slow he is: each piece of a large body is read where it is by
then, and a message that ends meanwhile ends its line. What cannot be read is named, and keeps
nobody from what lies behind it.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from dispatcher.core.message import Message
from dispatcher.errors import LogCorrupt, LogTrimmed
from dispatcher.queue.admin.importing import Importing
from dispatcher.queue.admin.large_body import LargeBody
from dispatcher.queue.admin.matching import matching_rows
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.patience import patiently
from dispatcher.queue.admin.surface import (
    AnyCarried,
    Carried,
    CarriedCall,
    Death,
    IncomingCall,
    InMemory,
    LetterFilter,
    LetterGone,
    Unreadable,
)
from dispatcher.queue.admin.views import attempt_views, letter_detail
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.pending.index import State
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.records.ids import id_parts, wire_id
from dispatcher.queue.records.kinds import RecordError
from dispatcher.queue.records.letters import DeadLetter

_SLOTS: Final = 500
"""Slots that are looked at before others get their turn."""
_READ_MOST: Final = 32
_READ_BYTES: Final = 256 * 1024
_DAMAGED: Final = (LogCorrupt, LogTrimmed, RecordError)


class Carrying:
    """Exports and imports the messages of one partition (`surface.Carrier`)."""

    def __init__(self, parts: Parts, intake: Intake, pace: Pace) -> None:
        self._parts = parts
        self._importing = Importing(parts, intake)
        self._pace = pace

    async def everything(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[AnyCarried]:
        """See `Carrier.everything`."""
        which = LetterFilter(destination=destination, label=label)
        async for one in self._letters(which, 0):
            yield one
        # What dies from here on is a letter behind this one, and may have been exported by then.
        last = self._parts.dead_letters.letters.last_ordinal
        seen = _Ids()
        async for one in self.waiting(destination, label=label):
            yield one
            if isinstance(one, Carried) and _is_whole(one):
                seen.add(one.message.wire_id)
        async for one in self._letters(which, last):
            if one.id not in seen:
                yield one

    async def waiting(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[AnyCarried]:
        """See `Carrier.waiting`."""
        async for slots in self._waiting_slots(destination):
            for one in await self._read(slots):
                # A slot may be another message's by the time it is read.
                if destination in (None, one.destination) and label in (None, _label_of(one)):
                    yield one

    async def _waiting_slots(self, destination: str | None) -> AsyncIterator[list[int]]:
        """Slots of pending messages, a few at a time, in the order of the index."""
        index, lanes = self._parts.pending.index, self._parts.lanes
        start = 0
        portion: list[int] = []
        size_bytes = 0
        while start < index.slots:
            end = min(start + _SLOTS, index.slots)
            for slot in range(start, end):
                if slot >= index.slots or index.state[slot] == State.FREE:
                    continue
                lane = lanes.by_number[index.lane[slot]]
                if destination is not None and str(lane.destination) != destination:
                    continue
                size = min(index.size[slot], _READ_BYTES)
                if portion and (len(portion) == _READ_MOST or size_bytes + size > _READ_BYTES):
                    yield portion
                    portion, size_bytes = [], 0
                portion.append(slot)
                size_bytes += size
            start = end
            await self._pace.rest()
        if portion:
            yield portion

    async def _read(self, slots: list[int]) -> list[AnyCarried]:
        """The messages that are in these slots, without those that end meanwhile."""
        try:
            return await patiently(partial(self._read_whole, slots))
        except _DAMAGED:
            if len(slots) == 1:
                return self._unreadable(*slots)
            return [one for slot in slots for one in await self._read([slot])]

    async def _read_whole(self, slots: list[int]) -> list[AnyCarried]:
        parts = self._parts
        index = parts.pending.index
        while True:
            slots = [s for s in slots if s < index.slots and index.state[s] != State.FREE]
            found = await read_messages(parts.log, parts.pending, slots, partition=parts.partition)
            if found is not None:
                return [
                    Carried(message, self._body(slot, message), None)
                    for slot, message in zip(slots, found, strict=True)
                    if index.holds(slot, message.position, message.incarnation)
                ]

    def _unreadable(self, slot: int) -> list[AnyCarried]:
        index = self._parts.pending.index
        if slot >= index.slots or index.state[slot] == State.FREE:
            return []
        message_id = wire_id(
            self._parts.partition, index.incarnation_of(slot), index.id_position[slot]
        )
        lane = self._parts.lanes.by_number[index.lane[slot]]
        return [Unreadable(message_id, str(lane.destination), is_dead=False)]

    def _body(self, slot: int, message: Message) -> InMemory | LargeBody:
        if message.chunks is None:
            return InMemory(message.body)
        return LargeBody(self._parts, slot, message)

    async def dead(self, which: LetterFilter) -> AsyncIterator[AnyCarried]:
        """See `Carrier.dead`."""
        async for one in self._letters(which, 0):
            yield one

    async def _letters(self, which: LetterFilter, after: int) -> AsyncIterator[AnyCarried]:
        """The letters that match, with an ordinal above `after`."""
        letters = self._parts.dead_letters.letters
        async for rows in matching_rows(letters, which, self._pace.rest, after, at_once=_SLOTS):
            # Rows change while letters are read; their ids stay.
            for key in [letters.id(row) for row in rows]:
                if (one := await self._letter(key, which)) is not None:
                    yield one

    async def _letter(self, key: bytes, which: LetterFilter) -> AnyCarried | None:
        dead_letters = self._parts.dead_letters
        letters = dead_letters.letters
        try:
            found = await patiently(partial(dead_letters.read, [key]))
        except _DAMAGED:
            row = letters.find(key)
            if row < 0:
                return None
            return Unreadable(key, letters.cause(letters.cause_key(row)).destination, is_dead=True)
        for letter in filter(which.fits, found):
            body: InMemory | _Pieces = InMemory(letter.body)
            if letter.chunks is not None:
                body = _Pieces(len(letter.chunks), partial(dead_letters.read_chunk, key))
            if isinstance(letter, CallLetter):
                return CarriedCall(letter_detail(letter, body))
            return Carried(letter.message, body, _death(letter))
        return None

    async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> bool:
        """See `Carrier.take`."""
        return await self._importing.take(message, body, death)

    async def take_call(self, call: IncomingCall, body: Sequence[bytes]) -> bool:
        """See `Carrier.take_call`."""
        return await self._importing.take_call(call, body)


@dataclass(slots=True)
class _Pieces:
    """A large body, of which each piece is read when it is asked for; `read` says None when there
    is none any more. `is_whole`: it was read to its end."""

    count: int
    read: Callable[[int], Awaitable[bytes | None]]
    is_whole: bool = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(self.count):
            try:
                piece = await patiently(partial(self.read, number))
            except _DAMAGED as error:
                raise LetterGone from error
            if piece is None:
                raise LetterGone
            yield piece
        self.is_whole = True


class _Ids:
    """Ids of very many messages, in some ten bytes each where messages are small."""

    def __init__(self) -> None:
        self._near: dict[tuple[int, int], array[int]] = {}

    def add(self, message_id: bytes) -> None:
        _, incarnation, position = id_parts(message_id)
        self._near.setdefault((incarnation, position >> 20), array("Q")).append(position)

    def __contains__(self, message_id: bytes) -> bool:
        _, incarnation, position = id_parts(message_id)
        return position in self._near.get((incarnation, position >> 20), ())


def _label_of(one: AnyCarried) -> str | None:
    return one.message.label if isinstance(one, Carried) else None


def _is_whole(one: Carried) -> bool:
    return not isinstance(one.body, LargeBody | _Pieces) or one.body.is_whole


def _death(letter: DeadLetter) -> Death:
    return Death(
        dead_at_us=letter.dead_at,
        reason=letter.reason,
        detail=letter.detail,
        response_start=letter.response_start,
        attempts=letter.message.attempt,
        history=attempt_views(letter),
    )
