"""What was delivered, found again in a log that is kept whole (EVENT_SOURCING).

The log is read once from its beginning, with what it held when that began. A DELIVERED record names
messages by where they were first stored, and there they still are, so nothing has to be remembered
between a message and its end but this: where a message was copied to (a dead letter that was
redriven, or compaction before the log was kept), until it ends; and from where to where the log
holds messages that were accepted in the wanted time, so that no others are read back.

A message is named in one DELIVERED record, however often it died, moved or was tried before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from dispatcher.core.message import Message
from dispatcher.errors import LogCorrupt, LogTrimmed
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.patience import patiently
from dispatcher.queue.admin.surface import HistoryFilter, Place
from dispatcher.queue.records.kinds import Kind, RecordError
from dispatcher.queue.records.messages import (
    accepted_at_of,
    decode_stored,
    message_facts,
    moved_facts,
)
from dispatcher.queue.records.settled import decode_settled
from dispatcher.txlog import RECORD_OVERHEAD_BYTES, Records, TransactionLog

MOST_AT_ONCE: Final = 64
"""Messages that are read back before others get their turn."""
RECORDS_AT_ONCE: Final = 1000
"""Records that are looked at before others get their turn: half a millisecond."""
_BYTES_AT_ONCE: Final = 1024 * 1024
"""What is read back at once, if messages are as large as those before them."""
DAMAGED: Final = (LogCorrupt, LogTrimmed, RecordError)


class Named(NamedTuple):
    """A message that was delivered: its name, and where it is now. It is the `number`-th of its
    DELIVERED record, from 1."""

    incarnation: int
    id_position: int
    position: int
    number: int


@dataclass(frozen=True, slots=True)
class Step:
    """Messages that were delivered, and how far the history is read with them."""

    messages: list[Message]
    place: Place
    read_bytes: int
    unreadable: int = 0


class History:
    """The history in one log."""

    def __init__(self, log: TransactionLog, pace: Pace, *, partition: int) -> None:
        self._log = log
        self._pace = pace
        self._partition = partition
        self._together = MOST_AT_ONCE // 4

    async def delivered(
        self,
        which: HistoryFilter,
        after: Place | None = None,
        *,
        most: Callable[[], int] = lambda: MOST_AT_ONCE,
    ) -> AsyncGenerator[Step, None]:
        """Give the messages that match and were delivered by now, in the order of delivery, as many
        at once as `most` says then; begin behind a place. A large body is in chunks. The first step
        says where it begins.

        Raises:
            LogError: the log cannot be read further.
        """
        end = self._log.bounds().end
        walk = self._log.walk(end)
        place = after or Place(0, 0, end, self._partition)
        looking = Looking(which)
        read_bytes = 0
        yield Step([], place, read_bytes)
        while (records := await patiently(walk.next)) is not None:
            if records.origin + records.begins[0] >= place.end:
                return
            for position, named in looking.look(records, before=place.end):
                wanted = [one for one in named if (position, one.number) > place[:2]]
                async with aclosing(self._found(wanted, which, most)) as portions:
                    async for number, messages, unreadable in portions:
                        place = place._replace(position=position, done=number)
                        yield Step(messages, place, read_bytes, unreadable)
                await self._pace.rest()
            read_bytes += records.ends[-1] - records.begins[0] + RECORD_OVERHEAD_BYTES
            yield Step([], place, read_bytes)

    async def _found(
        self, wanted: list[Named], which: HistoryFilter, most: Callable[[], int]
    ) -> AsyncGenerator[tuple[int, list[Message], int], None]:
        """The messages among these that match, a few at once: with the number of the last, and how
        many cannot be read."""
        at = 0
        while at < len(wanted):
            portion = wanted[at : at + min(most(), self._together)]
            at += len(portion)
            messages, unreadable = await self._read(portion)
            size_bytes = sum(len(one.head) + len(one.body) for one in messages)
            self._together = max(
                1, min(MOST_AT_ONCE, _BYTES_AT_ONCE * len(portion) // max(1, size_bytes))
            )
            yield portion[-1].number, [one for one in messages if which.matches(one)], unreadable
            await self._pace.rest()

    async def _read(self, portion: list[Named]) -> tuple[list[Message], int]:
        """The messages with these names, and how many of them cannot be read."""
        try:
            return await self._read_whole(portion), 0
        except DAMAGED:
            if len(portion) == 1:
                return [], 1
        messages: list[Message] = []
        unreadable = 0
        for one in portion:
            found, damaged = await self._read([one])
            messages += found
            unreadable += damaged
        return messages, unreadable

    async def _read_whole(self, portion: list[Named]) -> list[Message]:
        positions = [one.position for one in portion]
        payloads = await patiently(partial(self._log.read, positions))
        messages = []
        for name, payload in zip(portion, payloads, strict=True):
            message = decode_stored(name.position, payload, self._partition)
            if (message.incarnation, message.position) != name[:2]:
                raise RecordError(f"another message where {name.id_position:#x} was")
            messages.append(message)
        return messages


@dataclass(slots=True)
class Looking:
    """What has to be known of the records so far. Pure.

    `first` and `last` are positions: between them lie all messages that were accepted in time.
    """

    which: HistoryFilter
    first: int | None = None
    last: int = -1
    moved: dict[tuple[int, int], int] = field(default_factory=dict)
    """Where messages that have not ended were copied to, those of them that are in time."""

    def look(self, records: Records, *, before: int) -> Iterator[tuple[int, list[Named]]]:
        """Take in the next records, as far as they lie before a position; give the position of each
        DELIVERED record among them with those of its messages that may match. Gives an empty list
        now and then, for others to have their turn."""
        data, origin = records.data, records.origin
        for number, (begin, end) in enumerate(zip(records.begins, records.ends, strict=True), 1):
            position = origin + begin
            if position >= before:
                return
            kind = data[begin] if begin < end else 0
            if kind == Kind.MESSAGE or kind == Kind.MESSAGE_TERMS:
                if self.which.is_in_time(accepted_at_of(data, begin)):
                    self.first = position if self.first is None else self.first
                    self.last = position
            elif kind == Kind.DELIVERED:
                yield position, self._delivered(data[begin:end])
            elif kind == Kind.MOVED or kind == Kind.MOVED_TERMS:
                self._moved(position, data[begin:end])
            elif kind in _ENDED and self.moved:
                self._ended(data[begin:end])
            if not number % RECORDS_AT_ONCE:
                yield position, []

    def _delivered(self, payload: bytes) -> list[Named]:
        incarnation, positions = decode_settled(payload)
        assert incarnation is not None, "only version 1 had none"
        named = []
        for number, id_position in enumerate(positions, 1):
            position = self.moved.pop((incarnation, id_position), None)
            if position is None and self.first is not None:
                position = id_position if self.first <= id_position <= self.last else None
            if position is not None:
                named.append(Named(incarnation, id_position, position, number))
        return named

    def _moved(self, position: int, payload: bytes) -> None:
        id_position, _, _, start = moved_facts(payload)
        if self.which.is_in_time(accepted_at_of(payload, start)):
            incarnation = message_facts(payload, start)[0]
            self.moved[incarnation, id_position] = position

    def _ended(self, payload: bytes) -> None:
        incarnation, positions = decode_settled(payload)
        if incarnation is not None:
            for id_position in positions:
                self.moved.pop((incarnation, id_position), None)


_ENDED: Final = frozenset({Kind.SETTLED, Kind.SETTLED_PACKED})
