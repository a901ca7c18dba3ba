"""Redriving: dead letters become messages again, under their old ids.

For each letter, in this order, each step durable before the next: its message is settled in the
transaction log (it died; the record of that may still be on its way), a MOVED record there makes it
pending again with no attempts made and one more redrive, and a REMOVED record ends the letter. Only
then may it be attempted. A crash in between leaves it in both logs, and the next start sees by the
number of redrives which one counts (`reconcile`): none is lost, and none is there twice.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence
from functools import partial

from dispatcher.core.message import Message
from dispatcher.errors import LogError, Refusal, Refused
from dispatcher.queue.accepting import ChunkUpload
from dispatcher.queue.committer import Committer
from dispatcher.queue.deadletters import DeadLetters
from dispatcher.queue.pending import Pending
from dispatcher.queue.readback import read_messages
from dispatcher.queue.records import OVERHEAD_BYTES, encode_moved
from dispatcher.queue.refusals import DISK_FULL, OVERLOADED
from dispatcher.queue.settlements import Settlements
from dispatcher.txlog import TransactionLog

MOST_AT_ONCE = 128
MOST_BYTES_AT_ONCE = 1024 * 1024
SETTLE_SECONDS = 10.0
"""How long an operator waits for the disk before being told to come again."""


class Redriver:
    """Moves dead letters back. `line_up` lets a slot wait for its first attempt."""

    def __init__(
        self,
        letters: DeadLetters,
        pending: Pending,
        committer: Committer,
        settlements: Settlements,
        *,
        line_up: Callable[[int], None],
    ) -> None:
        self.redriven_total = 0
        self._letters = letters
        self._pending = pending
        self._committer = committer
        self._settlements = settlements
        self._line_up = line_up
        self._leaving: set[bytes] = set()
        self._log_end = 0

    @property
    def is_busy(self) -> bool:
        """Whether letters are being redriven or purged now."""
        return bool(self._leaving)

    async def reconcile(self, log: TransactionLog, *, end: int, partition: int) -> None:
        """After both logs were read: settle what became a dead letter just before the process
        ended, and drop the letters of what was being redriven. `log` is the transaction log, and
        ended at `end` when it was opened.

        Raises:
            LogError: a log failed.
        """
        self._log_end = end
        redriven: list[bytes] = []
        pending = self._pending
        for message_id, redrives in list(self._letters):
            slot = pending.find(int(message_id[12:], 16))
            if slot < 0:
                continue
            (message,) = await read_messages(log, pending, [slot], partition=partition)
            if message.wire_id != message_id:
                continue
            if message.redrives > redrives:
                redriven.append(message_id)
            else:
                self._settlements.positions.append(message.position)
                pending.remove(slot)
        await self._letters.drop(redriven)

    async def redrive(self, ids: Sequence[bytes]) -> list[bytes]:
        """Make these letters pending; returns the ids of those that now are, in their order. Others
        are no letters, or somebody else is taking them away, or their place is taken (see `_fits`).

        Raises:
            Refused: there is no space for one now; those before it may have been redriven.
        """
        taken = self._take([message_id for message_id in ids if self._fits(message_id)])
        try:
            await self._everything_settled()
            done: list[bytes] = []
            for portion in self._portions(taken):
                done += await self._redrive(portion)
            return done
        finally:
            self._leaving.difference_update(taken)

    async def purge(self, ids: Sequence[bytes]) -> list[bytes]:
        """Remove these letters for good; returns the ids of those that were there.

        Raises:
            Refused: there is no space to settle them now; nothing has changed.
        """
        taken = self._take(ids)
        try:
            # Otherwise a crash could forget that they were settled, and deliver what is gone.
            await self._everything_settled()
            await self._letters.remove(taken)
            return taken
        finally:
            self._leaving.difference_update(taken)

    async def _everything_settled(self) -> None:
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._settlements.barrier()
        except TimeoutError:  # not even the space that is kept back is left, or the disk is stuck
            raise Refused(DISK_FULL if self._committer.full else OVERLOADED) from None

    def _fits(self, message_id: bytes) -> bool:
        """Whether a message may have this id's position in the transaction log, where settling
        knows it by nothing else.

        Of a letter that is older than the log (an operator deleted that) another message may wait
        under the same position, or come to lie there.
        """
        position = int(message_id[12:], 16)
        end = max(self._log_end, self._pending.extents.end)
        return position < end and self._pending.find(position) < 0

    def _take(self, ids: Sequence[bytes]) -> list[bytes]:
        taken = []
        for message_id in ids:
            if message_id in self._letters and message_id not in self._leaving:
                self._leaving.add(message_id)
                taken.append(message_id)
        return taken

    def _portions(self, ids: list[bytes]) -> list[list[bytes]]:
        letters = self._letters.letters
        portions: list[list[bytes]] = []
        size = MOST_BYTES_AT_ONCE
        for message_id in ids:
            if size >= MOST_BYTES_AT_ONCE or len(portions[-1]) >= MOST_AT_ONCE:
                portions.append([])
                size = 0
            portions[-1].append(message_id)
            size += letters.sizes[letters.find(message_id)]
        return portions

    async def _redrive(self, ids: list[bytes]) -> list[bytes]:
        revivals: list[_Revival] = []
        failures: list[Exception] = []
        try:
            for letter in await self._letters.read(ids):
                revivals.append(await self._revive(letter.message))
        except (LogError, OSError) as error:  # those before it are pending, or will be
            failures.append(error)
        slots = []
        done = []
        for revival in revivals:
            try:
                slots.append(await revival.done)
                done.append(revival.message.wire_id)
            except Refused as refused:
                failures.append(refused)
        await self._letters.remove(done)
        for slot in slots:
            self._line_up(slot)
        self.redriven_total += len(done)
        if failures:
            raise failures[0]
        return done

    async def _revive(self, dead: Message) -> _Revival:
        """Submit the record that makes a message pending again."""
        upload = None
        message = dead
        if dead.chunks is not None:
            upload = await self._upload(dead.wire_id, len(dead.chunks))
            message = dead.with_chunks(tuple(upload.positions))
        message.attempt = 0
        message.history = b""
        message.redrives += 1
        payload = encode_moved(message, 0)
        revival = _Revival(self._pending, message, len(payload) + OVERHEAD_BYTES, upload)
        if upload is not None and upload.refusal is not None:
            revival.refused(upload.refusal)
        else:
            self._committer.submit(payload, revival)
        return revival

    async def _upload(self, message_id: bytes, chunks: int) -> ChunkUpload:
        """Copy a large body back into the transaction log, one chunk at a time."""
        loop = asyncio.get_running_loop()
        upload = ChunkUpload(self._committer, self._pending, lambda: None)
        try:
            for number in range(chunks):
                data = await self._letters.read_chunk(message_id, number)
                assert data is not None, "nobody else takes it away"
                upload.write(data)
                stored: asyncio.Future[None] = loop.create_future()
                upload.when_stored(partial(_wake, stored))
                await stored
                if upload.refusal is not None:
                    break
        except BaseException:
            upload.abort()  # its chunks would be held for ever
            raise
        return upload


def _wake(stored: asyncio.Future[None]) -> None:
    if not stored.done():
        stored.set_result(None)


class _Revival:
    """A MOVED record that makes a dead message pending. The slot is IN_FLIGHT, in no chain, until
    the letter is gone."""

    __slots__ = ("_pending", "_size", "_upload", "done", "message")

    def __init__(
        self, pending: Pending, message: Message, size: int, upload: ChunkUpload | None
    ) -> None:
        self.message = message
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pending = pending
        self._size = size
        self._upload = upload

    def stored(self, position: int) -> None:
        """The record is durable."""
        message = self.message
        slot = self._pending.revive(message, position, self._size)
        if message.chunks is not None:
            self._pending.own_chunks(slot, array("Q", message.chunks), message.body_size)
        if self._upload is not None:
            self._upload.let_go()
        if not self.done.done():
            self.done.set_result(slot)

    def refused(self, refusal: Refusal) -> None:
        """There is no space, or the log failed: it stays a dead letter."""
        if self._upload is not None:
            self._upload.let_go()
        if not self.done.done():
            self.done.set_exception(Refused(refusal))
