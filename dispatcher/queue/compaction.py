"""Compaction: what is still needed at the beginning of the log is copied to its end, the rest is
dropped.

The log is a queue too: only its beginning can be trimmed, so that every engine can do it. When it
takes more than twice what is pending, the live messages of the oldest extent are appended again,
each with its attempts and history in one MOVED record, and the extent is trimmed once they are
durable. A record of a retry is never live by
itself: it lies behind its message, so whatever lies before the oldest extent has been copied or
settled. Each byte of dead records pays for copying at most one live byte, so the work is bounded by
what was written.
"""

from __future__ import annotations

import asyncio
from array import array
from functools import partial

from dispatcher.core.message import Message
from dispatcher.errors import LogTrimmed, Refusal
from dispatcher.queue.accepting import ChunkUpload
from dispatcher.queue.committer import Committer
from dispatcher.queue.extents import Extent
from dispatcher.queue.index import State
from dispatcher.queue.pending import Pending
from dispatcher.queue.readback import Bodies, read_messages
from dispatcher.queue.records import (
    OVERHEAD_BYTES,
    destination_bytes,
    encode_moved,
)
from dispatcher.txlog import TransactionLog

SLACK_BYTES = 32 * 1024 * 1024
"""The log may take this much more than twice what is pending: below it, copying gains nothing."""
DEAD_END_BYTES = 1024 * 1024
"""When nothing in the newest extent is needed and it is larger than this, it is dropped as well."""
_COPY_BYTES = 256 * 1024
_COPY_MOST = 128


class Compactor:
    """Trims and compacts one log. `look` is called after every batch and is cheap when nothing is
    to be done."""

    def __init__(
        self, log: TransactionLog, pending: Pending, committer: Committer, *, partition: int
    ) -> None:
        self.copied_total = 0
        self._log = log
        self._pending = pending
        self._committer = committer
        self._partition = partition
        self._bodies = Bodies(log, pending)
        self._task: asyncio.Task[None] | None = None
        self._behind: set[int] = set()

    def look(self) -> None:
        """See whether the beginning of the log can be dropped or should be copied."""
        if self._task is not None:
            return
        upto = self._droppable()
        if upto is not None or self._is_wasteful():
            self._task = asyncio.get_running_loop().create_task(self._run(upto))
            self._task.add_done_callback(self._done)

    async def stop(self) -> None:
        """End what is under way; a copy that was not finished is dead bytes. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.result()

    def _droppable(self) -> int | None:
        extents = self._pending.extents
        current = extents.current
        if not current.live and (current.filled >= DEAD_END_BYTES or self._committer.full):
            extents.cut()
        self._pending.index.shrink()
        return extents.drop_dead()

    def _is_wasteful(self) -> bool:
        extents = self._pending.extents
        oldest = extents.oldest
        if oldest is extents.current or not oldest.live:
            return False
        if self._committer.full:
            # No space to copy much, but copying little may free a whole segment.
            return oldest.live_bytes <= _COPY_BYTES
        return extents.span_bytes > 2 * self._pending.index.live_bytes + SLACK_BYTES

    async def _run(self, upto: int | None) -> None:
        if upto is not None:
            await self._log.trim(upto)
        while self._is_wasteful():
            await self._copy(self._pending.extents.oldest)
            upto = self._droppable()
            if upto is None:
                return  # a large body of it is being delivered: later
            await self._log.trim(upto)

    async def _copy(self, extent: Extent) -> None:
        """Append the live messages of an extent again, and return when they are durable."""
        for slots in self._portions(extent):
            try:
                messages = await read_messages(
                    self._log, self._pending.index, slots, partition=self._partition
                )
            except LogTrimmed:
                return
            moves = [move for message in messages if (move := self._move(message)) is not None]
            self._committer.wake()
            for move in moves:
                await move.done
        for slot in self._big_in(extent):
            await self._copy_big(slot)

    def _portions(self, extent: Extent) -> list[list[int]]:
        index = self._pending.index
        portions: list[list[int]] = []
        size = _COPY_BYTES
        for position, slot in extent.entries():
            if index.position[slot] != position or not index.state[slot]:
                continue
            if slot in self._pending.big:
                continue
            if size >= _COPY_BYTES or len(portions[-1]) >= _COPY_MOST:
                portions.append([])
                size = 0
            portions[-1].append(slot)
            size += index.size[slot]
        return portions

    def _move(self, message: Message) -> _Move | None:
        """Submit the copy of a message, unless it was settled or attempted while it was read."""
        index = self._pending.index
        slot = message.slot
        if index.id_position[slot] != message.position or not index.state[slot]:
            return None
        if index.attempts[slot] != message.attempt and slot not in self._behind:
            # The record of an attempt is on its way: with the next look it will be read too. A
            # record that was never written, for want of space, does not come, and then the count is
            # all there is.
            self._behind.add(slot)
            return None
        self._behind.discard(slot)
        message.attempt = index.attempts[slot]
        due_at = index.due_at[slot] if index.state[slot] == State.SCHEDULED else 0
        payload = encode_moved(message, due_at, destination_bytes(message.destination))
        move = _Move(self._pending, message, len(payload) + OVERHEAD_BYTES)
        self._committer.submit_urgent(payload, move)
        self.copied_total += 1
        return move

    def _big_in(self, extent: Extent) -> list[int]:
        """Slots of large bodies with a record in the oldest extent, but those that are being
        delivered."""
        extents = self._pending.extents
        index = self._pending.index
        return [
            slot
            for slot, (chunks, _) in self._pending.big.items()
            if index.state[slot] != State.IN_FLIGHT
            and (
                extents.of(index.position[slot]) is extent
                or any(extents.of(position) is extent for position in chunks)
            )
        ]

    async def _copy_big(self, slot: int) -> None:
        """Append the chunks of a large body again, and then its message."""
        pending = self._pending
        id_position = pending.index.id_position[slot]
        upload = ChunkUpload(self._committer, pending.extents, lambda: None, urgent=True)
        for position in pending.big[slot][0]:
            (data,) = await self._bodies.read([position])
            stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            upload.write(data)
            upload.when_stored(partial(stored.set_result, None))
            self._committer.wake()
            await stored
        if pending.index.id_position[slot] == id_position and slot in pending.big:
            (message,) = await read_messages(
                self._log, pending.index, [slot], partition=self._partition
            )
            message.chunks = tuple(upload.positions)
            move = self._move(message)
            self._committer.wake()
            if move is not None:
                await move.done
        upload.abort()


class _Move:
    """A MOVED record on its way."""

    __slots__ = ("_message", "_pending", "_size", "done")

    def __init__(self, pending: Pending, message: Message, size: int) -> None:
        self._pending = pending
        self._message = message
        self._size = size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stored(self, position: int) -> None:
        """The copy is durable: the slot lies there now, unless it was settled meanwhile."""
        pending, message = self._pending, self._message
        slot = message.slot
        index = pending.index
        if index.id_position[slot] == message.position and index.state[slot]:
            pending.move(slot, position, self._size)
            if message.chunks is not None:
                pending.move_chunks(slot, array("Q", message.chunks), message.body_size)
        if not self.done.done():
            self.done.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        """The log failed; the process ends, and the original is still there."""
        self.done.cancel()
