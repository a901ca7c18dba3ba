"""Pages of the messages that wait.

The work of one page is bounded: where few of very many match, it ends early, with a cursor from
which the next one goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dispatcher.core.message import Message
from dispatcher.queue.admin.explaining import Explaining
from dispatcher.queue.admin.looking import Looking
from dispatcher.queue.admin.message_filter import MessageFilter, shown
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import MessagePage, MessageView
from dispatcher.queue.admin.waiting import READ_BYTES, READ_MOST, Run, Waiting
from dispatcher.queue.pending.index import Name
from dispatcher.queue.records.ids import wire_id

MOST_LOOKED: Final = 250_000
"""Entries of the index that are looked at for one page, about: a second."""
MOST_READ: Final = 4096
MOST_READ_BYTES: Final = 32 * 1024 * 1024
"""Records that are read for one page, about, and their bytes."""
_AT_ONCE: Final = 256
"""Messages whose names are noted, to be read a few at a time."""


class MessagePages:
    """Shows the waiting messages of one partition, and changes nothing."""

    def __init__(
        self,
        parts: Parts,
        waiting: Waiting,
        looking: Looking,
        explaining: Explaining,
        pace: Pace,
    ) -> None:
        self._parts = parts
        self._waiting = waiting
        self._looking = looking
        self._explaining = explaining
        self._pace = pace

    async def page(self, which: MessageFilter, *, cursor: int, limit: int) -> MessagePage:
        """See `Admin.waiting`. A cursor is the position from which to go on."""
        items: list[MessageView] = []
        looked = read = read_bytes = 0
        runs = self._waiting.runs(which, start=cursor, at_once=min(limit, _AT_ONCE))
        async for run in runs:
            looked, read = looked + run.looked, read + run.read
            read_bytes += run.read_bytes
            room = limit - len(items)
            index = self._parts.pending.index
            places = [index.position[slot] for slot in run.slots]
            items += await self._views(run, run.slots[:room])
            if len(places) >= room:
                end = places[room - 1] + 1
                return MessagePage(items, end if end < self._waiting.end else None)
            if looked >= MOST_LOOKED or read >= MOST_READ or read_bytes >= MOST_READ_BYTES:
                return MessagePage(items, run.end if run.end < self._waiting.end else None)
        return MessagePage(items, None)

    async def _views(self, run: Run, slots: list[int]) -> list[MessageView]:
        """What is shown of these, without those that end meanwhile."""
        found: list[MessageView] = []
        names = {slot: self._name(slot) for slot in slots}
        if run.messages:
            return await self._show(slots, run.messages, names)
        portion: list[int] = []
        size_bytes = 0
        for slot in slots:
            size = self._size(slot)
            if portion and (len(portion) == READ_MOST or size_bytes + size > READ_BYTES):
                found += await self._read(portion, names)
                await self._pace.rest()
                portion, size_bytes = [], 0
            portion.append(slot)
            size_bytes += size
        if portion:
            found += await self._read(portion, names)
            await self._pace.rest()
        return found

    async def _read(self, slots: list[int], names: dict[int, Name]) -> list[MessageView]:
        return await self._show(slots, await self._waiting.read(slots), names)

    async def _show(
        self, slots: list[int], read: Mapping[int, Message], names: Mapping[int, Name]
    ) -> list[MessageView]:
        """What is shown of these that were read just now. Of each it takes an eighth of a slice, or
        a quarter."""
        index = self._parts.pending.index
        found = []
        self._pace.begin()
        for slot in slots:
            if self._pace.is_over:
                await self._pace.rest()
            message = read.get(slot)
            if not index.holds(slot, *names[slot]):
                continue
            if message is None:
                found.append(self._indexed(slot))
            else:
                found.append(self._shown(slot, message))
        return found

    def _shown(self, slot: int, message: Message) -> MessageView:
        return self._explaining.told(self._looking.pending_view(slot, message), slot)

    def _indexed(self, slot: int) -> MessageView:
        """What the index knows of one that cannot be read."""
        index = self._parts.pending.index
        return MessageView(
            id=self._id(slot).decode("ascii"),
            state=shown(self._parts.pending, slot),
            destination=str(self._parts.lanes.by_number[index.lane[slot]].destination),
            method="",
            target="",
            accepted_at_us=0,
            attempts=index.attempts[slot],
            next_attempt_at_us=None,
            last_error=None,
        )

    def _size(self, slot: int) -> int:
        index = self._parts.pending.index
        return min(index.size[slot], READ_BYTES) if slot < index.slots else 0

    def _name(self, slot: int) -> Name:
        return self._parts.pending.index.name_of(slot)

    def _id(self, slot: int) -> bytes:
        id_position, incarnation = self._name(slot)
        return wire_id(self._parts.partition, incarnation, id_position)
