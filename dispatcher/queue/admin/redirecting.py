"""Sending messages that wait to another destination, because an operator says so.

A message keeps its id, what was asked for with it and its age, and has fresh attempts. What moves
it is one unit of the log, of two records: SETTLED, that it is done as it was, and MOVED, that it is
there as it is now. So after a crash it is for one destination or for the other, and every program
that reads these records understands it.

Meanwhile it is MOVING: it is not sent, and not copied forward, for a copy behind the unit would
bring it back. Whatever was on its way into the log of it before lies before the unit, as that is
not made before those records are durable. A unit that is refused leaves it where it was.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.core.readdressing import terms_elsewhere, with_host
from dispatcher.errors import BatchTooLarge, Refusal, Refused
from dispatcher.queue.admin.reading_back import ReadingBack, Told, nobody
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.settlements import Settlements, in_time
from dispatcher.queue.flow.admission import Admission
from dispatcher.queue.lanes.aside import Aside
from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.records.messages import encode_moved
from dispatcher.queue.refusals import RECORD_TOO_LARGE


class Redirecting:
    """Redirects messages of one partition."""

    def __init__(
        self,
        reading: ReadingBack,
        pending: Pending,
        lanes: Lanes,
        *,
        aside: Aside,
        admission: Admission,
        committer: Committer,
        settlements: Settlements,
    ) -> None:
        self._reading = reading
        self._pending = pending
        self._lanes = lanes
        self._aside = aside
        self._admission = admission
        self._committer = committer
        self._settlements = settlements

    async def redirect(
        self, ids: Sequence[bytes], to: Destination, *, told: Told = nobody
    ) -> list[bytes]:
        """Send those of these messages that wait to another destination; returns which they are,
        when that is durable. Those that go there already stay as they are. `told` is told of them
        too, and also before something is raised.

        Raises:
            Refused: there is no space for one now; those before it were redirected. Or the disk
                takes too long, and those that were begun go on by themselves.
            LogError: they cannot be read.
        """
        return await self._reading.each_portion(ids, partial(self._redirect, to), told)

    async def _redirect(self, to: Destination, ids: list[bytes], done: list[bytes]) -> None:
        """Add those that go there now to `done`."""
        index = self._pending.index
        lane = self._lanes.find(to.key)
        slots: list[int] = []
        for slot in self._reading.waiting(ids):
            if lane is not None and index.lane[slot] == lane.number:
                done.append(self._reading.id_of(slot))
            else:
                slots.append(slot)
        if slots:
            await self._move(slots, to, done)

    async def _move(self, slots: list[int], to: Destination, done: list[bytes]) -> None:
        for slot in slots:
            self._aside.take(slot)
        waiting = set(slots)
        moves: list[_Move] = []
        try:
            await self._settlements.durable()
            read = await self._reading.read(slots)
            assert read is not None, "what is set aside does not move"
            for message, _ in read:
                waiting.discard(message.slot)
                moves.append(self._submit(message, to))
        finally:
            for slot in slots:
                if slot in waiting:
                    self._aside.put_back(slot)
        try:
            await in_time([move.done for move in moves], lambda: self._committer.full)
        finally:
            done += [move.message.wire_id for move in moves if move.is_stored]

    def _submit(self, message: Message, to: Destination) -> _Move:
        """Submit the unit that moves a message."""
        self._reading.locate(message)
        unwritten = self._pending.unwritten.pop(message.slot, None)
        moved = message.with_chunks(message.chunks)
        moved.slot = message.slot
        moved.destination = to
        moved.head = with_host(message.head, to)
        moved.attempt = 0
        moved.history = b""
        if message.terms is not None:
            moved.terms = terms_elsewhere(message.terms, message.destination)
            if moved.terms.order_key:  # all that has a place in the order there lies before
                moved.terms = replace(moved.terms, order_after=self._pending.extents.end)
        settled = self._settlements.record_of(
            message.incarnation, message.position, delivered=False, has_key=False
        )
        due_us = 0 if moved.terms is None else moved.terms.not_before_us
        move = _Move(self, moved, [settled, encode_moved(moved, due_us)], unwritten)
        try:
            self._committer.submit_unit(move.payloads, move, urgent=False)
        except BatchTooLarge:
            move.refused(RECORD_TOO_LARGE)
        return move

    def moved(self, move: _Move, positions: Sequence[int]) -> None:
        """It is durable that a message is for another destination."""
        pending, message = self._pending, move.message
        settled, stored = (len(payload) + OVERHEAD_BYTES for payload in move.payloads)
        ages, old = pending.ages, message.slot
        place = None if ages is None else ages.place_of(old)
        self._aside.let_go(old)
        pending.remove(old)
        pending.extents.note(positions[0], settled)
        lane = self._lanes.of(message.destination)
        slot = message.slot = pending.add_moved(
            message.position, message.incarnation, positions[1], lane.number, stored
        )
        if message.chunks is not None:
            pending.owned.own(slot, array("Q", message.chunks), message.body_size)
        self._admission.comes_from_elsewhere(message)
        if ages is not None and place is not None:
            ages.put(slot, place)

    def refused(self, move: _Move) -> None:
        """A message stays where it was."""
        if move.unwritten is not None:
            self._pending.unwritten[move.message.slot] = move.unwritten
        self._aside.put_back(move.message.slot)


class _Move:
    """A unit on its way (`UnitWaiter`). `unwritten` is what is known of the attempts before, where
    that was not stored yet; `done` raises `Refused` when the message was not moved."""

    __slots__ = ("_redirecting", "done", "message", "payloads", "unwritten")

    def __init__(
        self,
        redirecting: Redirecting,
        message: Message,
        payloads: list[bytes],
        unwritten: bytes | None,
    ) -> None:
        self._redirecting = redirecting
        self.message = message
        self.payloads = payloads
        self.unwritten = unwritten
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_stored(self) -> bool:
        """Whether it is known that the message was moved."""
        done = self.done
        return done.done() and not done.cancelled() and done.exception() is None

    def stored(self, positions: Sequence[int]) -> None:
        """See `UnitWaiter`."""
        try:
            self._redirecting.moved(self, positions)
        finally:  # whoever waits would wait for ever
            if not self.done.done():
                self.done.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        """See `UnitWaiter`."""
        self._redirecting.refused(self)
        if not self.done.done():
            self.done.set_exception(Refused(refusal))
            self.done.exception()  # seen: who waited may have been ended
