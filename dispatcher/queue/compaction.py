"""Compaction: what is still needed at the beginning of the log is copied to its end, the rest is
dropped.

The log is a queue too: only its beginning can be trimmed, so that every engine can do it. When it
takes more than twice what is pending, the live messages of the oldest extent are appended again,
each with its attempts and history in one MOVED record, and the extent is trimmed once they are
durable. A record of a retry is never live by itself: it lies behind its message, so whatever lies
before the oldest extent has been copied or settled. Each byte of dead records pays for copying at
most one live byte, so the work is bounded by what was written.

A message may be attempted, fail or be settled while it is copied. Its copy holds the attempts that
had ended when it was submitted; whatever comes later is a record behind it.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from contextlib import suppress

from dispatcher.core.message import Message
from dispatcher.errors import LogTrimmed, Refusal, Refused
from dispatcher.queue.accepting import ChunkUpload
from dispatcher.queue.committer import Committer
from dispatcher.queue.extents import Extent
from dispatcher.queue.index import State
from dispatcher.queue.pauses import Pauses
from dispatcher.queue.pending import Pending
from dispatcher.queue.readback import Bodies, is_passing, read_messages
from dispatcher.queue.records import (
    OVERHEAD_BYTES,
    decode_retry,
    encode_chunk,
    encode_moved,
)
from dispatcher.txlog import TransactionLog

SLACK_BYTES = 32 * 1024 * 1024
"""The log may take this much more than twice what is pending: below it, copying gains nothing."""
DEAD_END_BYTES = 1024 * 1024
"""When nothing in the newest extent is needed and it is larger than this, it is dropped as well."""
_COPY_BYTES = 256 * 1024
_COPY_MOST = 128
_REST_SECONDS = 1.0
"""How long nothing is copied after a round that freed nothing: every batch would look through the
same part of the log again."""


class Compactor:
    """Trims and compacts one log. `look` is called after every batch and is cheap when nothing is
    to be done."""

    def __init__(
        self,
        log: TransactionLog,
        pending: Pending,
        committer: Committer,
        *,
        partition: int,
        keep_everything: bool,
        pauses: Pauses,
        wall_offset_us: Callable[[], int],
        failed: Callable[[Exception], None],
    ) -> None:
        """`wall_offset_us` is what an instant of the queue's clock lacks to the wall clock's, which
        records are in. `failed` is told when the log could not be read or trimmed: the process must
        end."""
        self._pauses = pauses
        self._wall_offset_us = wall_offset_us
        self.copied_total = 0
        self._keep_everything = keep_everything
        self._failed = failed
        self._stopped = False
        self._rests_until = 0.0
        self._log = log
        self._pending = pending
        self._committer = committer
        self._partition = partition
        self._bodies = Bodies(log, pending)
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """See whether the beginning of the log can be dropped or should be copied."""
        if self._task is not None or self._stopped:
            return
        upto = self._droppable()
        if self._keep_everything:
            return  # the extents were forgotten, the records stay
        if upto is not None or (self._is_wasteful() and not self._is_resting()):
            self._task = asyncio.get_running_loop().create_task(self._run(upto))
            self._task.add_done_callback(self._done)

    async def stop(self) -> None:
        """End what is under way, and begin nothing more; a copy that was not finished is dead
        bytes. Idempotent."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            # Silence would mean a log that grows for ever.
            self._failed(error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _is_resting(self) -> bool:
        return asyncio.get_running_loop().time() < self._rests_until

    def _droppable(self) -> int | None:
        extents = self._pending.extents
        current = extents.current
        if not current.live and (current.filled >= DEAD_END_BYTES or self._committer.full):
            extents.cut()
        self._pending.shrink()
        return extents.drop_dead()

    def _is_wasteful(self) -> bool:
        extents = self._pending.extents
        oldest = extents.oldest
        if oldest is extents.current or not oldest.live:
            return False
        if self._committer.full:
            # No space to copy much, but copying little may free a whole segment.
            return oldest.live_bytes <= _COPY_BYTES
        live_bytes = self._pending.index.live_bytes + self._pending.uploading_bytes
        return extents.span_bytes > 2 * live_bytes + SLACK_BYTES

    async def _run(self, upto: int | None) -> None:
        if upto is not None:
            await self._log.trim(upto)
        while self._is_wasteful():
            try:
                await self._copy(self._pending.extents.oldest)
            except OSError as error:
                if not is_passing(error):
                    raise
            upto = self._droppable()
            if upto is None:
                self._rests_until = asyncio.get_running_loop().time() + _REST_SECONDS
                return
            await self._log.trim(upto)

    async def _copy(self, extent: Extent) -> None:
        """Append the live messages of an extent again, and return when they are durable."""
        for portion in self._portions(extent):
            # Those before it took a while: a slot may be another message's by now.
            slots = [slot for position, slot in portion if self._lies_at(slot, position)]
            if not slots:
                continue
            try:
                messages = await read_messages(
                    self._log, self._pending, slots, partition=self._partition
                )
            except LogTrimmed:
                return
            moves = [move for message in messages if (move := self._move(message)) is not None]
            self._committer.wake()
            for move in moves:
                await move.done
        if not self._committer.full:  # there is no space kept back for so much
            with suppress(Refused):
                await self._pauses.move_from(extent)
            for slot in self._big_in(extent):
                await self._copy_big(slot)
            for upload in list(self._pending.uploads):
                await self._copy_upload(upload, extent)

    def _portions(self, extent: Extent) -> list[list[tuple[int, int]]]:
        """Positions and slots of the messages in an extent, without those of large bodies."""
        portions: list[list[tuple[int, int]]] = []
        size = _COPY_BYTES
        for position, slot in extent.entries():
            if not self._lies_at(slot, position):
                continue
            if size >= _COPY_BYTES or len(portions[-1]) >= _COPY_MOST:
                portions.append([])
                size = 0
            portions[-1].append((position, slot))
            size += self._pending.index.size[slot]
        return portions

    def _lies_at(self, slot: int, position: int) -> bool:
        """Whether a slot is that of a message, without a large body, whose record is there."""
        index = self._pending.index
        return (
            slot < index.slots  # the index may have been given back meanwhile
            and index.position[slot] == position
            and index.state[slot] != State.FREE
            and slot not in self._pending.big
        )

    def _move(self, message: Message) -> _Move | None:
        """Submit the copy of a message, unless it was settled while it was read, or an attempt of
        it ended and its record is in the log already: then it has to be read again."""
        index = self._pending.index
        slot = message.slot
        if not index.holds(slot, message.position):
            return None
        if index.attempts[slot] != message.attempt:
            retry = self._pending.unwritten.get(slot)
            if retry is None:
                return None
            message.attempt = index.attempts[slot]
            message.history = decode_retry(retry).history
        due_at = 0
        if index.state[slot] == State.SCHEDULED:
            due_at = index.due_at[slot] + self._wall_offset_us()
        payload = encode_moved(message, due_at)
        move = _Move(self._pending, message, len(payload) + OVERHEAD_BYTES)
        self._committer.submit_urgent(payload, move)
        self.copied_total += 1
        return move

    def _big_in(self, extent: Extent) -> list[int]:
        """Slots of large bodies with a record in an extent."""
        extents = self._pending.extents
        index = self._pending.index
        return [
            slot
            for slot, (chunks, _) in self._pending.big.items()
            if extents.of(index.position[slot]) is extent
            or any(extents.of(position) is extent for position in chunks)
        ]

    async def _copy_big(self, slot: int) -> None:
        """Append the chunks of a large body again, and then its message."""
        pending = self._pending
        if slot not in pending.big:
            return  # settled while others were copied
        id_position = pending.index.id_position[slot]
        upload = ChunkUpload(self._committer, pending, lambda: None, urgent=True)
        try:
            for position in pending.big[slot][0]:
                (data,) = await self._bodies.read([position])
                if not pending.index.holds(slot, id_position):
                    return
                stored = upload.store(data)
                self._committer.wake()
                await stored
                if upload.refusal is not None:
                    return
            messages = await read_messages(self._log, pending, [slot], partition=self._partition)
            message = messages[0]
            if message.position == id_position:
                message.chunks = upload.fixed()
                move = self._move(message)
                self._committer.wake()
                if move is not None:
                    await move.done
        except LogTrimmed:
            if pending.index.holds(slot, id_position):
                raise
        finally:
            upload.abort()

    async def _copy_upload(self, upload: ChunkUpload, extent: Extent) -> None:
        """Append the chunks again that lie in an extent, of a body that is still coming."""
        of = self._pending.extents.of
        for position in list(upload.positions):
            if of(position) is not extent or upload not in self._pending.uploads:
                continue
            try:
                (data,) = await self._bodies.read([position])
            except LogTrimmed:
                if upload in self._pending.uploads:
                    raise
                return
            payload = encode_chunk(data)
            copy = _ChunkCopy(self._pending, upload, position, len(payload) + OVERHEAD_BYTES)
            self._committer.submit_urgent(payload, copy)
            self._committer.wake()
            await copy.done


class _ChunkCopy:
    """A CHUNK record on its way that replaces another one."""

    __slots__ = ("_pending", "_position", "_size", "_upload", "done")

    def __init__(self, pending: Pending, upload: ChunkUpload, position: int, size: int) -> None:
        self._pending = pending
        self._upload = upload
        self._position = position
        self._size = size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stored(self, position: int) -> None:
        """The copy is durable."""
        self._pending.extents.note(position, self._size)
        self._upload.move(self._position, position)
        if not self.done.done():
            self.done.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        """The log failed; the process ends."""
        self.done.cancel()


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
        if index.holds(slot, message.position):
            pending.move(slot, position, self._size)
            if index.attempts[slot] == message.attempt:
                pending.unwritten.pop(slot, None)
            if message.chunks is not None:
                pending.move_chunks(slot, array("Q", message.chunks), message.body_size)
        if not self.done.done():
            self.done.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        """The log failed; the process ends, and the original is still there."""
        self.done.cancel()
