"""The messages of the transaction log as something that can be compacted (`Source`).

Live messages of an extent are appended again, each with its attempts and history in one MOVED
record. A record of a retry is never live by itself: it lies behind its message, so whatever lies
before the oldest extent has been copied or settled.

A message may be attempted, fail or be settled while it is copied. Its copy holds the attempts that
had ended when it was submitted; whatever comes later is a record behind it.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from functools import partial

from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.core.message import Message
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.waiters import Awaited
from dispatcher.queue.compaction.source import RECLAIM, ReclaimPolicy
from dispatcher.queue.pending.extents import Extent
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.history import ATTEMPT_FIELDS
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.records.messages import STATE_BYTES, encode_moved
from dispatcher.queue.records.retry import decode_retry
from dispatcher.txlog import TransactionLog

_SLICE = 4000
"""Entries that are looked at before others get their turn: a millisecond."""


class Messages:
    """Copies messages that are held in one record each. `copied_total` counts them."""

    def __init__(
        self,
        log: TransactionLog,
        pending: Pending,
        committer: Committer,
        *,
        partition: int,
        clock: SteadyClock,
        policy: ReclaimPolicy = RECLAIM,
    ) -> None:
        self.copied_total = 0
        self._log = log
        self._pending = pending
        self._committer = committer
        self._partition = partition
        self._clock = clock
        self._policy = policy

    async def copy(self, extent: Extent) -> list[int]:
        """Append the messages of an extent again, and return when they are durable. Returns the
        slots of those that were left out because their bodies are in records of their own.

        Raises:
            Refused: there is no space for copies now.
        """
        policy = self._policy
        large: list[int] = []
        portion: list[tuple[int, int]] = []
        size = 0
        for count, (position, slot) in enumerate(extent.entries(), 1):
            if not count % _SLICE:
                await asyncio.sleep(0)
            if not self._lies_at(slot, position):
                continue
            if slot in self._pending.owned:
                large.append(slot)
                continue
            portion.append((position, slot))
            size += self._pending.index.size[slot]
            if size >= policy.copy_bytes or len(portion) >= policy.copy_most:
                await self._copy(portion)
                portion = []
                size = 0
        await self._copy(portion)
        return large

    async def growth_bytes(self, extent: Extent) -> int:
        """By how much the copies of the messages of an extent are larger than their records, at
        most."""
        growth = 0
        for count, (position, slot) in enumerate(extent.entries(), 1):
            if not count % _SLICE:
                await asyncio.sleep(0)
            if self._lies_at(slot, position) and slot not in self._pending.owned:
                growth += self.growth_of(slot)
        return growth

    def growth_of(self, slot: int) -> int:
        """By how much the copy of a message is larger than its record, at most: what is copied the
        first time gets a state, and its attempts are in records of their own until then."""
        index = self._pending.index
        is_copy = index.position[slot] != index.id_position[slot]
        if is_copy and not index.retry[slot] and slot not in self._pending.unwritten:
            return 0
        return STATE_BYTES + ATTEMPT_FIELDS.size * index.attempts[slot]

    async def _copy(self, portion: Sequence[tuple[int, int]]) -> None:
        while True:
            # Others were copied before these: a slot may be another message's by now.
            slots = [
                slot
                for position, slot in portion
                if self._lies_at(slot, position) and slot not in self._pending.owned
            ]
            if not slots:
                return
            places = [self._pending.index.position[slot] for slot in slots]
            messages = await self.read(slots)
            if messages is not None:
                break
        moves = [
            move
            for message, place in zip(messages, places, strict=True)
            if (move := self.submit(message, place)) is not None
        ]
        self._committer.wake()
        for move in moves:
            await move.done

    def _lies_at(self, slot: int, position: int) -> bool:
        """Whether a slot is that of a message whose record is there."""
        index = self._pending.index
        return (
            slot < index.slots  # the index may have been given back meanwhile
            and index.position[slot] == position
            and index.state[slot] != State.FREE
        )

    async def read(self, slots: list[int]) -> list[Message] | None:
        """See `read_messages`."""
        return await read_messages(self._log, self._pending, slots, partition=self._partition)

    def submit(self, message: Message, place: int) -> Awaited | None:
        """Submit the copy of a message that was read at this place, unless it was settled or
        redirected meanwhile, or is about to be, or an attempt of it ended and its record is in the
        log already: then it has to be read again."""
        index = self._pending.index
        slot = message.slot
        if not index.holds(slot, message.position, message.incarnation):
            return None
        if index.position[slot] != place:
            return None
        if index.state[slot] == State.SETTLING or index.state[slot] == State.MOVING:
            return None
        if index.attempts[slot] != message.attempt:
            retry = self._pending.unwritten.get(slot)
            if retry is None:
                return None
            message.attempt = index.attempts[slot]
            message.history = decode_retry(retry).history
        due_at = 0
        state = index.state[slot]
        if state == State.SCHEDULED or (state == State.BEHIND and index.due_at[slot]):
            due_at = self._clock.to_wall(QueueUs(index.due_at[slot]))
        payload = encode_moved(message, due_at)
        move = Awaited(partial(self._moved, message, len(payload) + OVERHEAD_BYTES))
        self._committer.copies.submit(payload, move)
        self.copied_total += 1
        return move

    def _moved(self, message: Message, size: int, position: int) -> None:
        """The copy is durable: the slot lies there now, unless it was settled meanwhile."""
        pending = self._pending
        slot = message.slot
        index = pending.index
        if not index.holds(slot, message.position, message.incarnation):
            pending.extents.note(position, size)
            return
        pending.move(slot, position, size)
        if index.attempts[slot] == message.attempt:
            pending.unwritten.pop(slot, None)
        if message.chunks is not None:
            pending.owned.move(slot, array("Q", message.chunks))
