"""Large bodies, copied forward chunk by chunk: those of messages, and those that are still coming.

The chunks of a message are copied first, and then its record, which names the copies: until that is
durable the message has its old ones, and what was copied is dead bytes if something goes wrong.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from dispatcher.errors import LogTrimmed, Refused
from dispatcher.queue.bodies.readback import Bodies
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.waiters import Awaited
from dispatcher.queue.compaction.messages import Messages
from dispatcher.queue.pending.extents import Extent
from dispatcher.queue.pending.owned import owned_sizes
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.chunks import encode_chunk
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.txlog import TransactionLog

_SLICE: Final = 2000
"""Chunks that are looked at before others get their turn: a millisecond."""


class LargeBodies:
    """Copies what has records of its own for its body."""

    def __init__(
        self, log: TransactionLog, pending: Pending, committer: Committer, messages: Messages
    ) -> None:
        self._pending = pending
        self._committer = committer
        self._messages = messages
        self._bodies = Bodies(log, pending)

    def cost_bytes(self, slot: int) -> int:
        """Bytes that the copy of a large body and its message takes, at most."""
        chunks = sum(size for _, size in owned_sizes(*self._pending.owned.by_slot[slot]))
        return chunks + self._pending.index.size[slot] + self._messages.growth_of(slot)

    async def copy(self, slot: int) -> None:
        """Append the chunks of a large body again, and then its message.

        Raises:
            Refused: there is no space for copies now. Its chunks are where they were.
        """
        pending = self._pending
        if slot not in pending.owned:
            return  # settled while others were copied
        name = pending.index.id_position[slot], pending.index.incarnation_of(slot)
        upload = ChunkUpload(self._committer, pending, lambda: None, is_copy=True)
        try:
            for position in pending.owned.positions(slot):
                (data,) = await self._bodies.read([position])
                if not pending.index.holds(slot, *name):
                    return
                stored = upload.store(data)
                self._committer.wake()
                await stored
                if upload.refusal is not None:
                    raise Refused(upload.refusal)
            place = pending.index.position[slot]
            messages = await self._messages.read([slot])
            if messages is None:
                return
            (message,) = messages
            if (message.position, message.incarnation) == name:
                message.chunks = upload.fixed()
                move = self._messages.submit(message, place)
                self._committer.wake()
                if move is not None:
                    await move.done
        except LogTrimmed:
            if pending.index.holds(slot, *name):
                raise
        finally:
            upload.abort()

    async def copy_coming(self, upload: ChunkUpload, extent: Extent) -> None:
        """Append the chunks again that lie in an extent, of a body that is still coming.

        Raises:
            Refused: there is no space for copies now.
        """
        of = self._pending.extents.of
        for count, position in enumerate(list(upload.positions), 1):
            if not count % _SLICE:
                await asyncio.sleep(0)
            if of(position) is not extent or upload not in self._pending.uploads:
                continue
            try:
                (data,) = await self._bodies.read([position])
            except LogTrimmed:
                if upload in self._pending.uploads:
                    raise
                return
            payload = encode_chunk(data)
            size = len(payload) + OVERHEAD_BYTES
            copy = Awaited(partial(self._copied, upload, position, size))
            self._committer.copies.submit(payload, copy)
            self._committer.wake()
            await copy.done

    def _copied(self, upload: ChunkUpload, position: int, size: int, to: int) -> None:
        self._pending.extents.note(to, size)
        upload.move(position, to)
