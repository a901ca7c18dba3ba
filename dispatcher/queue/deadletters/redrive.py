"""Redriving: dead letters become messages again, under their old ids.

For each letter, in this order, each step durable before the next: its message is settled in the
transaction log (it died; the record of that may still be on its way), a MOVED record there makes it
pending again with no attempts made and one more redrive, and a REMOVED record ends the letter. Only
then may it be attempted. A crash in between leaves it in both logs, and the next start sees by the
number of redrives which one counts (`recovery.reconcile`): none is lost, and none is there twice.

A dead call goes back to the function service instead, see `calls`.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from dispatcher.core.message import Message
from dispatcher.errors import LogCorrupt, LogError, Refusal, Refused
from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.endings import Endings
from dispatcher.queue.commit.settlements import Settlements, in_time
from dispatcher.queue.deadletters.editing import LetterEdit
from dispatcher.queue.deadletters.reviving import RevivingCalls
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.lanes.lines import Lines
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.records.either import AnyLetter
from dispatcher.queue.records.ids import is_call
from dispatcher.queue.records.kinds import OVERHEAD_BYTES, RecordError
from dispatcher.queue.records.messages import encode_moved
from dispatcher.queue.registry.idempotency.keys import Keys
from dispatcher.telemetry.supervisor import Supervisor

MOST_AT_ONCE = 64
"""They become pending in one go, which takes 30 to 60 us each."""
MOST_BYTES_AT_ONCE = 1024 * 1024
REMOVED_AT_ONCE = 100
"""Letters that are removed before others get their turn: a millisecond or two."""

_DAMAGED = (LogCorrupt, RecordError)


class Redriving(NamedTuple):
    """What came of a redrive: the ids of letters that are pending now, in their order, of those
    that stay, because the disk gives back something else than was written, and of calls that stay,
    because nobody here serves calls."""

    done: list[bytes]
    damaged: list[bytes]
    unserved: list[bytes]


class Redriver:
    """Moves dead letters back. `line_up` lets a message wait for its first attempt. `calls` takes
    those that are none."""

    def __init__(
        self,
        letters: DeadLetters,
        pending: Pending,
        committer: Committer,
        settlements: Settlements,
        endings: Endings,
        lanes: Lanes,
        keys: Keys,
        *,
        lines: Lines,
        line_up: Callable[[Message], None],
        supervisor: Supervisor,
    ) -> None:
        self.redriven_total = 0
        self.calls = RevivingCalls(letters, supervisor)
        self._letters = letters
        self._pending = pending
        self._committer = committer
        self._settlements = settlements
        self._endings = endings
        self._lanes = lanes
        self._keys = keys
        self._lines = lines
        self._line_up = line_up
        self._leaving: set[bytes] = set()  # each let go of by whoever took it, and by nobody else

    @property
    def is_busy(self) -> bool:
        """Whether letters are being redriven or purged now."""
        return bool(self._leaving)

    async def redrive(self, ids: Sequence[bytes], *, edit: LetterEdit | None = None) -> Redriving:
        """Make these letters pending, with `edit` one of them, changed. Those that are not named in
        what is returned are no letters, or others than the one that was to be changed, or somebody
        else is taking them away.

        Raises:
            Refused: there is no space for one now; those before it may have been redriven. Or a
                disk takes too long; then those that were begun go on by themselves.
        """
        taken = self._take(ids)
        held = set(taken)
        redriving = Redriving([], [], [])
        messages = [one for one in taken if not is_call(one)]
        able = taken
        if self.calls.reviver is None:
            able = messages
            redriving.unserved.extend(filter(is_call, taken))
        try:
            if messages or not taken:
                await self._settlements.durable()
                await self._endings.durable(messages)
            for portion in self._portions(able):
                redriving.done.extend(await self._redrive(portion, redriving.damaged, edit, held))
            return redriving
        finally:
            self._leaving.difference_update(held)

    async def purge(self, ids: Sequence[bytes]) -> list[bytes]:
        """Remove these letters for good; returns the ids of those that were there.

        Raises:
            Refused: there is no space to write it down now, or a disk takes too long. Those that
                were begun are removed when they can be, the others stay.
        """
        taken = self._take(ids)
        held = set(taken)
        try:
            # A message must be settled, or a crash could deliver what is gone. Where that can't be
            # written down now, those for which it was are removed first: that may make the space.
            if self._committer.is_stuck:
                await self._remove([one for one in taken if self._is_settled(one)], held)
            left = [one for one in taken if one in self._letters]
            if left:
                if not all(map(is_call, left)):
                    await self._settlements.durable()
                    await self._endings.durable(left)
                await self._remove(left, held)
            return taken
        finally:
            self._leaving.difference_update(held)

    def _is_settled(self, message_id: bytes) -> bool:
        """Whether the message of a letter is settled for certain, durably. A letter that was copied
        forward is taken for one that is not. A call is the function service's to forget."""
        letters = self._letters.letters
        position = letters.position[letters.find(message_id)]
        if is_call(message_id):
            return True
        return position < self._settlements.buried_upto and message_id not in self._endings

    async def _remove(self, ids: list[bytes], held: set[bytes]) -> None:
        await self._keys.give_up(ids)
        steps = []
        for start in range(0, len(ids), REMOVED_AT_ONCE):
            step = _Step(self, ids[start : start + REMOVED_AT_ONCE])
            steps.append(step)
            held.difference_update(step.ids)
            self._letters.remove(step.ids, step.ended)
            await asyncio.sleep(0)
        await in_time([step.done for step in steps], self._is_full)

    def _is_full(self) -> bool:
        return self._committer.full or self._letters.full

    def finished(self, ids: Sequence[bytes]) -> None:
        """Nothing is on its way any more that concerns these letters."""
        self._leaving.difference_update(ids)

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

    async def _redrive(
        self,
        ids: list[bytes],
        damaged: list[bytes],
        edit: LetterEdit | None,
        held: set[bytes],
    ) -> list[bytes]:
        """`held` are the letters that are let go of unless something of them is on its way; then
        they are by what that comes to: once they have, somebody else may have taken them."""
        revivals: list[_Step] = []
        failure: Exception | None = None
        try:
            for letter in await self._read(ids, damaged):
                if edit is not None and letter.redrives != edit.redrives:
                    continue
                try:
                    if isinstance(letter, CallLetter):
                        revivals.append(await self._revive_call(letter, held))
                    else:
                        revivals.append(await self._revive(letter.message, edit, held))
                except _DAMAGED:  # a chunk of it
                    damaged.append(letter.id)
        except (LogError, Refused) as error:  # those before it are pending, or will be
            failure = error
        await in_time([revival.done for revival in revivals], self._is_full)
        if failure is not None:
            raise failure
        return [message_id for revival in revivals for message_id in revival.ids]

    async def _read(self, ids: list[bytes], damaged: list[bytes]) -> list[AnyLetter]:
        """The letters that can be read; one that cannot fails the read of all of them."""
        try:
            return await self._letters.read(ids)
        except _DAMAGED:
            if len(ids) == 1:
                damaged += ids
                return []
            return [letter for one in ids for letter in await self._read([one], damaged)]

    async def _revive(self, dead: Message, edit: LetterEdit | None, held: set[bytes]) -> _Revival:
        """Submit the record that makes a message pending again."""
        upload = None
        message = dead if edit is None else edit.applied(dead)
        if edit is not None and edit.is_large:
            upload = await self._upload(edit.pieces())
        elif message.chunks is not None:
            upload = await self._upload(self._pieces(dead.wire_id, len(message.chunks)))
        if upload is not None:
            message = message.with_chunks(upload.fixed())
        message.attempt = 0
        message.history = b""
        message.redrives += 1
        if message.terms is not None:
            message.terms = message.terms.of_redriven()
            if message.terms.order_key and not self._lines.holds:
                after = self._pending.extents.end  # all that has a place in the order lies before
                message.terms = replace(message.terms, order_after=after)
        payload = encode_moved(message, 0)
        revival = _Revival(self, message, len(payload) + OVERHEAD_BYTES, upload)
        held.discard(message.wire_id)
        self._keys.reviving(message.position, message.incarnation)
        if upload is not None and upload.refusal is not None:
            revival.refused(upload.refusal)
        else:
            self._committer.submit(payload, revival)
        return revival

    def revived(self, revival: _Revival, position: int) -> None:
        """The record that makes a message pending is durable at `position`: its letter has to go
        before it may be attempted."""
        message, upload = revival.message, revival.upload
        pending = self._pending
        lane = self._lanes.of(message.destination)
        slot = pending.add_moved(
            message.position, message.incarnation, position, lane.number, revival.size
        )
        message.slot = slot
        if message.terms is not None and message.terms.has_line:
            self._lines.reserve(slot, message.destination.key, message.terms)
        lane.away += 1
        pending.index.state[slot] = State.REVIVING
        pending.reviving += 1
        if message.chunks is not None:
            pending.owned.own(slot, array("Q", message.chunks), message.body_size)
        if upload is not None:
            upload.let_go()
        self._keys.revived(message)
        self._letters.remove([message.wire_id], partial(self._back, revival))

    def _back(self, revival: _Revival, refusal: Refusal | None) -> None:
        """The letter is gone, unless the log failed: the next start sees to that."""
        if refusal is None:
            self.redriven_total += 1
            self._pending.reviving -= 1
            index = self._pending.index
            self._lanes.by_number[index.lane[revival.message.slot]].away -= 1
            self._line_up(revival.message)
        revival.ended(refusal)

    async def _revive_call(self, letter: CallLetter, held: set[bytes]) -> _Step:
        """Hand a call to the function service."""
        letter = await self.calls.whole(letter)
        await self._keys.bring_back(letter.id)
        step = _Step(self, [letter.id])
        held.discard(letter.id)
        self.calls.begin(letter, partial(self._call_left, step))
        return step

    def _call_left(self, step: _Step, refusal: Refusal | None) -> None:
        self.redriven_total += refusal is None
        step.ended(refusal)

    async def _pieces(self, message_id: bytes, chunks: int) -> AsyncIterator[bytes]:
        """The large body of a letter."""
        for number in range(chunks):
            data = await self._letters.read_chunk(message_id, number)
            assert data is not None, "nobody else takes it away"
            yield data

    async def _upload(self, pieces: AsyncIterator[bytes]) -> ChunkUpload:
        """Put a large body into the transaction log, one chunk at a time."""
        upload = ChunkUpload(self._committer, self._pending, lambda: None)
        try:
            async for data in pieces:
                await in_time([upload.store(data)], self._is_full)
                if upload.refusal is not None:
                    break
        except BaseException:
            upload.abort()  # its chunks would be held for ever
            raise
        return upload


class _Step:
    """What is done with some letters, until it is durable."""

    __slots__ = ("_redriver", "done", "ids")

    def __init__(self, redriver: Redriver, ids: Sequence[bytes]) -> None:
        self.ids = ids
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._redriver = redriver

    def ended(self, refusal: Refusal | None) -> None:
        """It is durable, or why it is not."""
        self._redriver.finished(self.ids)
        if self.done.done():
            return  # it took too long for who waited
        if refusal is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(Refused(refusal))
            self.done.exception()  # seen: who waited may have been ended


class _Revival(_Step):
    """A MOVED record that makes a dead message pending. Its slot is REVIVING, in no chain, until
    the letter is gone."""

    __slots__ = ("message", "size", "upload")

    def __init__(
        self, redriver: Redriver, message: Message, size: int, upload: ChunkUpload | None
    ) -> None:
        super().__init__(redriver, [message.wire_id])
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
