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
from dispatcher.queue.settlements import Settlements, in_time
from dispatcher.txlog import TransactionLog

MOST_AT_ONCE = 128
MOST_BYTES_AT_ONCE = 1024 * 1024


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
        self._under_way: set[bytes] = set()  # those of them of which a record was submitted
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
            Refused: there is no space for one now; those before it may have been redriven. Or a
                disk takes too long; then those that were begun go on by themselves.
        """
        taken = self._take([message_id for message_id in ids if self._fits(message_id)])
        try:
            await self._settlements.durable()
            done: list[bytes] = []
            for portion in self._portions(taken):
                done += await self._redrive(portion)
            return done
        finally:
            self._leaving.difference_update(set(taken) - self._under_way)

    async def purge(self, ids: Sequence[bytes]) -> list[bytes]:
        """Remove these letters for good; returns the ids of those that were there.

        Raises:
            Refused: there is no space to write it down now, or a disk takes too long. Those that
                were begun are removed when they can be, the others stay.
        """
        taken = self._take(ids)
        try:
            # Otherwise a crash could forget that they were settled, and deliver what is gone.
            await self._settlements.durable()
            self._under_way.update(taken)
            steps = [_Step(self, message_id) for message_id in taken]
            for step in steps:
                self._letters.remove(step.message_id, step.ended)
            await in_time([step.done for step in steps], self._is_full)
            return taken
        finally:
            self._leaving.difference_update(set(taken) - self._under_way)

    def _is_full(self) -> bool:
        return self._committer.full or self._letters.full

    def finished(self, message_id: bytes) -> None:
        """Nothing is on its way any more that concerns this letter."""
        self._under_way.discard(message_id)
        self._leaving.discard(message_id)

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
        failure: Exception | None = None
        try:
            for letter in await self._letters.read(ids):
                revivals.append(await self._revive(letter.message))
        except (LogError, OSError, Refused) as error:  # those before it are pending, or will be
            failure = error
        await in_time([revival.done for revival in revivals], self._is_full)
        if failure is not None:
            raise failure
        return [revival.message_id for revival in revivals]

    async def _revive(self, dead: Message) -> _Revival:
        """Submit the record that makes a message pending again."""
        upload = None
        message = dead
        if dead.chunks is not None:
            upload = await self._upload(dead.wire_id, len(dead.chunks))
            message = dead.with_chunks(upload.fixed())
        message.attempt = 0
        message.history = b""
        message.redrives += 1
        payload = encode_moved(message, 0)
        revival = _Revival(self, message, len(payload) + OVERHEAD_BYTES, upload)
        self._under_way.add(message.wire_id)
        if upload is not None and upload.refusal is not None:
            revival.refused(upload.refusal)
        else:
            self._committer.submit(payload, revival)
        return revival

    def revived(self, revival: _Revival, position: int) -> None:
        """The record that makes a message pending is durable at `position`: its letter has to go
        before it may be attempted."""
        message, upload = revival.message, revival.upload
        slot = self._pending.revive(message, position, revival.size)
        if message.chunks is not None:
            self._pending.own_chunks(slot, array("Q", message.chunks), message.body_size)
        if upload is not None:
            upload.let_go()
        self._letters.remove(message.wire_id, partial(self._back, revival, slot))

    def _back(self, revival: _Revival, slot: int, refusal: Refusal | None) -> None:
        """The letter is gone, unless the log failed: the next start sees to that."""
        if refusal is None:
            self.redriven_total += 1
            self._line_up(slot)
        revival.ended(refusal)

    async def _upload(self, message_id: bytes, chunks: int) -> ChunkUpload:
        """Copy a large body back into the transaction log, one chunk at a time."""
        upload = ChunkUpload(self._committer, self._pending, lambda: None)
        try:
            for number in range(chunks):
                data = await self._letters.read_chunk(message_id, number)
                assert data is not None, "nobody else takes it away"
                await in_time([upload.store(data)], self._is_full)
                if upload.refusal is not None:
                    break
        except BaseException:
            upload.abort()  # its chunks would be held for ever
            raise
        return upload


class _Step:
    """What is done with one letter, until it is durable."""

    __slots__ = ("_redriver", "done", "message_id")

    def __init__(self, redriver: Redriver, message_id: bytes) -> None:
        self.message_id = message_id
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._redriver = redriver

    def ended(self, refusal: Refusal | None) -> None:
        """It is durable, or why it is not."""
        self._redriver.finished(self.message_id)
        if self.done.done():
            return  # it took too long for who waited
        if refusal is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(Refused(refusal))
            self.done.exception()  # seen: who waited may have been ended


class _Revival(_Step):
    """A MOVED record that makes a dead message pending. Its slot is IN_FLIGHT, in no chain, until
    the letter is gone."""

    __slots__ = ("message", "size", "upload")

    def __init__(
        self, redriver: Redriver, message: Message, size: int, upload: ChunkUpload | None
    ) -> None:
        super().__init__(redriver, message.wire_id)
        self.message = message
        self.size = size
        self.upload = upload

    def stored(self, position: int) -> None:
        """The record is durable."""
        self._redriver.revived(self, position)

    def refused(self, refusal: Refusal) -> None:
        """There is no space, or the log failed: it stays a dead letter."""
        if self.upload is not None:
            self.upload.let_go()
        self.ended(refusal)
