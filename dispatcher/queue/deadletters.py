"""Dead letters: what was given up, in a log of its own.

A message is written here, with its history, and synced, before the queue settles it: in between it
is in both logs, and the next start settles it (`Redriver.reconcile`). A letter ends with a REMOVED
record; one that is redriven comes back under the same id with a higher `redrives`, so that what is
left of a crash in between can be told apart.

While the disk is full, dead letters wait in memory: the space that is kept back is for REMOVED
records, so that purging makes space.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dispatcher.core.message import Message
from dispatcher.errors import (
    LogError,
    LogTooNew,
    LogTrimmed,
    LogUnavailable,
    Refusal,
    Refused,
)
from dispatcher.queue.committer import Committer
from dispatcher.queue.deadspace import DeadSpace
from dispatcher.queue.letters import Letters
from dispatcher.queue.pending import chunk_sizes
from dispatcher.queue.ports import BodySource
from dispatcher.queue.readback import AGAIN_SECONDS, is_passing
from dispatcher.queue.records import (
    OVERHEAD_BYTES,
    STATELESS,
    DeadLetter,
    Kind,
    LetterFacts,
    RecordError,
    decode_chunk,
    decode_dead,
    decode_removed,
    encode_chunk,
    encode_dead,
    encode_removed,
    letter_facts,
    wire_id,
)
from dispatcher.queue.refusals import DISK_FULL, LOG_FAILED
from dispatcher.txlog import TransactionLog

RESPONSE_START_BYTES = 1024
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Dead letters that wait for space, in bytes, before no more attempts are started."""
_LOOK_SECONDS = 0.05
_DROPPED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Burial:
    """A message that is given up, and why."""

    message: Message
    reason: str
    detail: str
    response_start: bytes
    dead_at: int


class DeadLetters:
    """The dead-letter log of one partition, and the index of what is in it.

    `bodies` reads large bodies back from the transaction log, to be copied here.
    """

    def __init__(
        self,
        log: TransactionLog,
        bodies: BodySource,
        *,
        partition: int,
        failed: Callable[[Exception], None],
        space_changed: Callable[[bool], None],
    ) -> None:
        self.letters = Letters()
        self._log = log
        self._bodies = bodies
        self._failed = failed
        self._partition = partition
        self._chunks: dict[bytes, list[tuple[int, int]]] = {}  # position and size, by id
        self._leaving: set[bytes] = set()  # their REMOVED record is on its way
        self._copies: set[asyncio.Task[None]] = set()
        self._visited: set[int] = set()  # chunks, while the log is opened
        self._lost: dict[bytes, LetterFacts] = {}
        self._waiting: list[_Buried] = []  # for space
        self._waiting_bytes = 0
        self._has_space = asyncio.Event()
        self._has_space.set()
        self._space_changed = space_changed
        self._space = DeadSpace(log, self.letters, self._chunks, self._copy_forward, failed)
        self._committer = Committer(
            log,
            collect=lambda: None,
            settled=self._look,
            failed=failed,
            space_changed=self._on_space_changed,
        )

    def __len__(self) -> int:
        return len(self.letters)

    def __contains__(self, message_id: bytes) -> bool:
        return self.letters.find(message_id) >= 0

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """Each dead letter's id and how often it had been redriven."""
        letters = self.letters
        return ((letters.id(row), letters.redrives(row)) for row in letters.alive())

    @property
    def waiting_bytes(self) -> int:
        """Bytes of dead letters that are not durable yet."""
        return self._committer.waiting_bytes + self._waiting_bytes

    @property
    def full(self) -> bool:
        """There is no space for dead letters; those that come wait in memory."""
        return self._committer.full

    # Life

    def visit(self, position: int, payload: bytes) -> None:
        """Take in a record of the dead-letter log, in order, while it is opened."""
        self._space.note(position, len(payload) + OVERHEAD_BYTES)
        if payload[0] == Kind.DEAD:
            letter = letter_facts(payload)
            if letter.chunks is None or self._visited.issuperset(letter.chunks):
                self._lost.pop(letter.message_id, None)
                self._enter(letter, position, len(payload) + OVERHEAD_BYTES)
            else:
                self._lost[letter.message_id] = letter
        elif payload[0] == Kind.REMOVED:
            partition, incarnation, id_position, redrives = decode_removed(payload)
            message_id = wire_id(partition, incarnation, id_position)
            self._lost.pop(message_id, None)
            row = self.letters.find(message_id)
            if row >= 0 and self.letters.redrives(row) <= redrives:
                self._forget(message_id)
        elif payload[0] == Kind.CHUNK:
            self._visited.add(position)
        elif payload[0] not in STATELESS:
            raise LogTooNew(payload[0])

    def opened(self) -> Collection[LetterFacts]:
        """Every record was visited. Returns the letters that are lost, because a part of their body
        was in a damaged part of the log."""
        self.letters.sort()
        self._visited.clear()
        return self._lost.values()

    def start(self) -> None:
        """Begin to take dead letters. The log is open and was visited."""
        self._committer.start()

    async def stop(self) -> None:
        """Store what was buried, as far as there is space. Idempotent."""
        await self._space.stop()
        await self.flush()
        copies = list(self._copies)
        for copy in copies:
            copy.cancel()
        if copies:
            await asyncio.wait(copies)
        await self._committer.stop()

    async def flush(self) -> None:
        """Return when what was buried is durable, or has to wait for space."""
        await self._committer.flush()
        while self._copies and not (self._committer.full or self._committer.dead):
            await asyncio.wait(self._copies, timeout=_LOOK_SECONDS)
            await self._committer.flush()

    # Burying

    def bury(self, burial: Burial, then: Callable[[], None]) -> None:
        """Store a dead letter; `then` is called once it is durable, and not before."""
        letter = DeadLetter(
            self._partition,
            burial.message,
            burial.dead_at,
            burial.reason,
            burial.detail,
            burial.response_start[:RESPONSE_START_BYTES],
        )
        if burial.message.chunks is None:
            self._store(letter, then)
            return
        task = asyncio.get_running_loop().create_task(self._bury_big(letter, then))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _bury_big(self, letter: DeadLetter, then: Callable[[], None]) -> None:
        """Copy a large body here, chunk by chunk, then store its dead letter."""
        body = _Body(self, urgent=False)
        while True:
            try:
                message = await body.copy(letter.message, self._read_from_transaction_log)
                self._store(replace(letter, message=message), then, body)
                return
            except Refused:
                body.let_go()
                await self._has_space.wait()
                continue
            except (LogError, RecordError, OSError) as error:
                body.let_go()
                if not (isinstance(error, OSError) and is_passing(error)):
                    self._failed(error)  # the message would wait for ever, and silently
                    return
            await asyncio.sleep(AGAIN_SECONDS)

    async def _read_from_transaction_log(self, number: int, position: int) -> bytes:
        (data,) = await self._bodies.read([position])
        return data

    def _store(
        self, letter: DeadLetter, then: Callable[[], None], body: _Body | None = None
    ) -> None:
        buried = _Buried(self, encode_dead(letter), then, body)
        self._committer.submit(buried.payload, buried)

    def refused(self, buried: _Buried, refusal: Refusal) -> None:
        """A dead letter is not stored. Without space it waits; otherwise the process ends, and its
        message, which is not settled, is given up again after the next start."""
        if refusal is DISK_FULL:
            self._waiting.append(buried)
            self._waiting_bytes += len(buried.payload)

    def _on_space_changed(self, full: bool) -> None:
        if full:
            self._has_space.clear()
        else:
            self._has_space.set()
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
            for buried in waiting:
                self._committer.submit(buried.payload, buried)
        self._space_changed(full)

    def submit(self, payload: bytes, *, urgent: bool) -> asyncio.Future[int]:
        """Append a record that is needed until the caller says `release`; the future has its
        position when it is durable. It raises `Refused` when there is no space, unless `urgent`,
        and is cancelled when the log failed."""
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiter = _Stored(self._space, len(payload) + OVERHEAD_BYTES, stored)
        if urgent:
            self._committer.submit_urgent(payload, waiter)
            self._committer.wake()
        else:
            self._committer.submit(payload, waiter)
        return stored

    def buried(self, letter: LetterFacts, position: int, size: int) -> None:
        """A dead letter is durable at `position`; `size` is what its record takes."""
        self._space.note(position, size)
        self._enter(letter, position, size)

    # What is there

    async def read(self, ids: Sequence[bytes]) -> list[DeadLetter]:
        """The letters with these ids that are there, in the order of `ids`.

        Raises:
            LogCorrupt: the disk gave back something else than was written.
        """
        while True:
            positions = self._positions(ids)
            try:
                return [decode_dead(payload) for payload in await self._log.read(positions)]
            except LogTrimmed:
                # Removed or copied forward while it was read.
                if positions == self._positions(ids):
                    raise

    def _positions(self, ids: Sequence[bytes]) -> list[int]:
        letters = self.letters
        return [letters.position[row] for one in ids if (row := letters.find(one)) >= 0]

    async def read_chunk(self, message_id: bytes, number: int) -> bytes | None:
        """One piece of a letter's large body, wherever it is by now; None when there is no letter
        any more."""
        while (chunks := self._chunks.get(message_id)) is not None:
            position, _ = chunks[number]
            try:
                (payload,) = await self._log.read([position])
            except LogTrimmed:
                if self._chunks.get(message_id) is chunks:
                    raise
            else:
                return decode_chunk(payload)
        return None

    def remove(self, message_id: bytes, then: Callable[[Refusal | None], None]) -> None:
        """Forget a letter for good; `then` is called once that is durable, or with the reason why
        it is not: the log failed. There is space kept back for this."""
        row = self.letters.find(message_id)
        assert row >= 0, "there is no such letter"
        self._leaving.add(message_id)
        payload = self._removal(message_id, row)
        self._committer.submit_urgent(payload, _Removed(self, message_id, len(payload), then))
        self._committer.wake()

    def removed(self, message_id: bytes, position: int, size: int) -> None:
        """That a letter is gone is durable at `position`."""
        self._space.note(position, size)
        self._forget(message_id)

    async def drop(self, ids: Sequence[bytes]) -> None:
        """Forget letters whose messages are back in the queue, before anything is delivered: if one
        was delivered first, and a crash came, its letter would be there again.

        The log is open, and `start` was not called. On a full disk it is done when there is space.

        Raises:
            LogError: the log failed.
        """
        removals = [(one, self._removal(one, self.letters.find(one))) for one in ids]
        for start in range(0, len(removals), _DROPPED_AT_ONCE):
            portion = removals[start : start + _DROPPED_AT_ONCE]
            payloads = [payload for _, payload in portion]
            waiters = [_Noted(self._space, len(p) + OVERHEAD_BYTES) for p in payloads]
            try:
                positions = await self._log.append(payloads, urgent=True)
            except LogUnavailable:
                for payload, waiter in zip(payloads, waiters, strict=True):
                    self._committer.submit_urgent(payload, waiter)
            else:
                for waiter, position in zip(waiters, positions, strict=True):
                    waiter.stored(position)
            for message_id, _ in portion:
                self._forget(message_id)

    def _removal(self, message_id: bytes, row: int) -> bytes:
        return encode_removed(
            int(message_id[:4], 16),
            int(message_id[4:12], 16),
            int(message_id[12:], 16),
            self.letters.redrives(row),
        )

    def _enter(self, letter: LetterFacts, position: int, size: int) -> None:
        self._forget(letter.message_id)  # copied forward, or dead again after a redrive
        self._space.hold(position, size)
        if letter.chunks is not None:
            size += self._hold_chunks(letter.message_id, letter.chunks, letter.body_size)
        self.letters.add(letter, position, size)

    def _hold_chunks(self, message_id: bytes, positions: array[int], body_size: int) -> int:
        chunks = chunk_sizes(positions, body_size)
        self._chunks[message_id] = chunks
        for position, size in chunks:
            self._space.hold(position, size)
        return sum(size for _, size in chunks)

    def _forget(self, message_id: bytes) -> None:
        row = self.letters.remove(message_id)
        self._leaving.discard(message_id)
        if row >= 0:
            self._release(message_id, row)

    def _release(self, message_id: bytes, row: int) -> None:
        size = self.letters.sizes[row]
        for position, chunk_bytes in self._chunks.pop(message_id, ()):
            self._space.release(position, chunk_bytes)
            size -= chunk_bytes
        self._space.release(self.letters.position[row], size)

    # The log's space

    def _look(self) -> None:
        self._space.look(full=self._committer.full)

    async def _copy_forward(self, message_id: bytes) -> None:
        """Append a letter again, at the end of the log.

        All of it is urgent, because records of one sort keep their order: behind the one that
        removes it, a letter would be there again.
        """
        for letter in await self.read([message_id]):
            body = _Body(self, urgent=True)
            try:
                if letter.message.chunks is not None:
                    read = partial(self._read_to_copy, message_id)
                    letter = replace(letter, message=await body.copy(letter.message, read))
                if self._is_there(letter):
                    payload = encode_dead(letter)
                    position = await self.submit(payload, urgent=True)
                    self._copied(letter, position, len(payload) + OVERHEAD_BYTES)
            except LogTrimmed:
                if self._is_there(letter):
                    raise
            finally:
                body.let_go()

    def _is_there(self, letter: DeadLetter) -> bool:
        """Whether a letter still counts. One that is being removed does not: a copy would lie
        behind the record of that, and bring it back at the next start."""
        message = letter.message
        row = self.letters.find(message.wire_id)
        return (
            row >= 0
            and self.letters.redrives(row) == message.redrives
            and message.wire_id not in self._leaving
        )

    async def _read_to_copy(self, message_id: bytes, number: int, position: int) -> bytes:
        data = await self.read_chunk(message_id, number)
        if data is None:
            raise LogTrimmed(f"the dead letter of the chunk at {position} is gone")
        return data

    def _copied(self, letter: DeadLetter, position: int, size: int) -> None:
        message = letter.message
        row = self.letters.find(message.wire_id)
        if row < 0 or self.letters.redrives(row) != message.redrives:
            self._space.release(position, size)  # removed meanwhile: the copy is dead
            return
        self._release(message.wire_id, row)
        if message.chunks is not None:
            self._hold_chunks(message.wire_id, array("Q", message.chunks), message.body_size)
        self.letters.moved(row, position)


class _Body:
    """The chunks of a large body on their way into the dead-letter log. They are held until its
    letter holds them, so that nothing is trimmed away in between."""

    def __init__(self, letters: DeadLetters, *, urgent: bool) -> None:
        self._letters = letters
        self._urgent = urgent
        self._held: list[tuple[int, int]] = []

    async def copy(self, message: Message, read: Callable[[int, int], Awaitable[bytes]]) -> Message:
        """Copy the chunks of a message, each by its number and its position; returns the message
        with its body in the copies."""
        assert message.chunks is not None
        chunks = []
        for number, position in enumerate(message.chunks):
            payload = encode_chunk(await read(number, position))
            copied = await self._letters.submit(payload, urgent=self._urgent)
            size = len(payload) + OVERHEAD_BYTES
            self._held.append((copied, size))
            chunks.append(copied)
        return message.with_chunks(tuple(chunks))

    def let_go(self) -> None:
        """Hold nothing any more. Idempotent."""
        held, self._held = self._held, []
        for position, size in held:
            self._letters._space.release(position, size)


class _Buried:
    """A DEAD record on its way."""

    __slots__ = ("_body", "_letter", "_letters", "_then", "payload")

    def __init__(
        self,
        letters: DeadLetters,
        payload: bytes,
        then: Callable[[], None],
        body: _Body | None,
    ) -> None:
        self.payload = payload
        self._letters = letters
        self._letter = letter_facts(payload)
        self._then = then
        self._body = body

    def stored(self, position: int) -> None:
        self._letters.buried(self._letter, position, len(self.payload) + OVERHEAD_BYTES)
        if self._body is not None:
            self._body.let_go()
        self._then()

    def refused(self, refusal: Refusal) -> None:
        self._letters.refused(self, refusal)


class _Removed:
    """A REMOVED record on its way."""

    __slots__ = ("_letters", "_message_id", "_size", "_then")

    def __init__(
        self,
        letters: DeadLetters,
        message_id: bytes,
        size: int,
        then: Callable[[Refusal | None], None],
    ) -> None:
        self._letters = letters
        self._message_id = message_id
        self._size = size + OVERHEAD_BYTES
        self._then = then

    def stored(self, position: int) -> None:
        self._letters.removed(self._message_id, position, self._size)
        self._then(None)

    def refused(self, refusal: Refusal) -> None:
        self._then(refusal)


class _Noted:
    """A record that is never needed by itself: it only takes space in the log."""

    __slots__ = ("_size", "_space")

    def __init__(self, space: DeadSpace, size: int) -> None:
        self._space = space
        self._size = size

    def stored(self, position: int) -> None:
        self._space.note(position, self._size)

    def refused(self, refusal: Refusal) -> None:
        """The log failed and the process ends."""


class _Stored(_Noted):
    """A record that somebody waits for. It is held here: before he goes on, the log's space is
    looked at."""

    __slots__ = ("_future",)

    def __init__(self, space: DeadSpace, size: int, future: asyncio.Future[int]) -> None:
        super().__init__(space, size)
        self._future = future

    def stored(self, position: int) -> None:
        super().stored(position)
        self._space.hold(position, self._size)
        if not self._future.done():
            self._future.set_result(position)

    def refused(self, refusal: Refusal) -> None:
        if refusal is LOG_FAILED:
            self._future.cancel()
        elif not self._future.done():
            self._future.set_exception(Refused(refusal))
