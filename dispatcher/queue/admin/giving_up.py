"""Giving up messages that wait, because an operator says so: they become dead letters like any
other.

A message is read back where it waits, and goes on its way to the dead-letter log in the same moment
in which it is taken out: nobody finds it in between, and one whose attempt has begun meanwhile is
left to that. From then on it is what an attempt has given up: durable as a letter before it is
settled, told to whom it calls back, and holding its order key where letters do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.verdict import DeadReason
from dispatcher.errors import Refused
from dispatcher.queue.admin.reading_back import ReadingBack, Told, nobody
from dispatcher.queue.commit.endings import Endings
from dispatcher.queue.commit.settlements import in_time
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.plain import Handler
from dispatcher.queue.lanes.taking_out import TakingOut
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.ids import id_parts
from dispatcher.queue.refusals import NOT_DURABLE_FULL

_WHY: Final = AttemptResult(None, None, "an operator moved it to the dead letters", 0)


class GivingUp:
    """Makes dead letters of messages of one partition."""

    def __init__(
        self,
        reading: ReadingBack,
        pending: Pending,
        *,
        taking_out: TakingOut,
        handlers: Sequence[Handler],
        dead_letters: DeadLetters,
        endings: Endings,
        figures: Figures,
    ) -> None:
        self._reading = reading
        self._pending = pending
        self._taking_out = taking_out
        self._handlers = handlers
        self._dead_letters = dead_letters
        self._endings = endings
        self._figures = figures

    async def give_up(self, ids: Sequence[bytes], *, told: Told = nobody) -> list[bytes]:
        """Make dead letters of those of these messages that wait; returns which they are, when they
        are durable. `told` is told of them too, and also before something is raised.

        Raises:
            Refused: there is no space for dead letters, or for callbacks. Those before it are
                letters, and those of which that is not known become letters when there is space.
            LogError: they cannot be read.
        """
        return await self._reading.each_portion(ids, self._give_up, told)

    async def _give_up(self, ids: list[bytes], begun: list[bytes]) -> None:
        """Add those that become letters to `begun`, since nothing keeps them from it; return when
        they are durable."""
        while slots := self._reading.waiting(ids):
            if self._dead_letters.lacks_space or self._endings.are_waiting:
                raise Refused(NOT_DURABLE_FULL)
            read = await self._reading.read(slots)
            if read is None:  # one of them ended or moved meanwhile: look for all of them again
                continue
            ids = []
            for message, place in read:
                if self._reading.is_as_read(message, place):
                    begun.append(message.wire_id)
                    self._begin(message)
                else:  # it moved while it was read
                    ids.append(message.wire_id)
        if begun:
            await self._durable(begun)

    def _begin(self, message: Message) -> None:
        self._reading.locate(message)
        self._taking_out.give_up(message.slot)
        self._figures.burying += 1
        self._handlers[message.kind].give_up(message, _WHY, DeadReason.OPERATOR)

    async def _durable(self, ids: Sequence[bytes]) -> None:
        stored = asyncio.ensure_future(self._dead_letters.flush())
        await in_time([stored], lambda: self._dead_letters.lacks_space)
        if any(self._is_on_its_way(one) for one in ids):
            raise Refused(NOT_DURABLE_FULL)

    def _is_on_its_way(self, message_id: bytes) -> bool:
        """Whether a message that was given up waits for its letter to be stored."""
        _, incarnation, position = id_parts(message_id)
        slot = self._pending.find(position, incarnation)
        is_buried = slot >= 0 and self._pending.index.state[slot] == State.BURYING
        return is_buried and message_id not in self._dead_letters
