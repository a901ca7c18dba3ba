"""Dead letters: what was given up, in a log of its own.

A message is written here, with its history, and synced, before the queue settles it: in between it
is in both logs, and the next start settles it (`Queue.recover`). A message that is redriven comes
back under the same id with a higher `redrives`, so the two cases can be told apart.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dispatcher.core.message import Message
from dispatcher.errors import LogError, Refusal
from dispatcher.queue.committer import Committer
from dispatcher.queue.ports import BodySource
from dispatcher.queue.readback import AGAIN_SECONDS, is_passing
from dispatcher.queue.records import (
    Kind,
    RecordError,
    decode_dead,
    decode_removed,
    encode_chunk,
    encode_dead,
    wire_id,
)
from dispatcher.txlog import TransactionLog

RESPONSE_START_BYTES = 1024
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Dead letters that wait for space, in bytes, before no more attempts are started."""
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Burial:
    """A message that is given up, and why."""

    message: Message
    reason: str
    detail: str
    response_start: bytes
    dead_at: int


class DeadLetters:
    """The dead-letter log of one partition, and which ids are in it.

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
        self._log = log
        self._bodies = bodies
        self._failed = failed
        self._partition = partition
        self._positions: dict[bytes, tuple[int, int]] = {}
        self._copies: set[asyncio.Task[None]] = set()
        self._committer = Committer(
            log,
            collect=lambda: None,
            settled=lambda: None,
            failed=failed,
            space_changed=space_changed,
        )

    def __len__(self) -> int:
        return len(self._positions)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._positions

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """Each dead letter's id and how often it had been redriven."""
        return ((key, redrives) for key, (_, redrives) in self._positions.items())

    @property
    def waiting_bytes(self) -> int:
        """Bytes of dead letters that are not durable yet."""
        return self._committer.waiting_bytes

    @property
    def full(self) -> bool:
        """There is no space for dead letters; those that come wait in memory."""
        return self._committer.full

    def visit(self, position: int, payload: bytes) -> None:
        """Take in a record of the dead-letter log, in order, while it is opened."""
        if payload[0] == Kind.DEAD:
            letter = decode_dead(payload)
            self._positions[letter.message.wire_id] = (position, letter.message.redrives)
        elif payload[0] == Kind.REMOVED:
            partition, incarnation, id_position, _ = decode_removed(payload)
            self._positions.pop(wire_id(partition, incarnation, id_position), None)

    def start(self) -> None:
        """Begin to take dead letters. The log is open and was visited."""
        self._committer.start()

    async def stop(self) -> None:
        """Store what was buried, as far as there is space. Idempotent."""
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

    def bury(self, burial: Burial, then: Callable[[], None]) -> None:
        """Store a dead letter; `then` is called once it is durable, and not before."""
        if burial.message.chunks is None:
            self._store(burial, burial.message, then)
            return
        task = asyncio.get_running_loop().create_task(self._bury_big(burial, then))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _bury_big(self, burial: Burial, then: Callable[[], None]) -> None:
        while True:
            try:
                await self._copy(burial, then)
                return
            except (LogError, RecordError, OSError) as error:
                if not (isinstance(error, OSError) and is_passing(error)):
                    self._failed(error)  # the message would wait for ever, and silently
                    return
            await asyncio.sleep(AGAIN_SECONDS)

    async def _copy(self, burial: Burial, then: Callable[[], None]) -> None:
        """Copy a large body here, chunk by chunk, then store its dead letter."""
        assert burial.message.chunks is not None
        loop = asyncio.get_running_loop()
        chunks = array("Q")
        for position in burial.message.chunks:
            (data,) = await self._bodies.read([position])
            stored: asyncio.Future[int] = loop.create_future()
            self._committer.submit_urgent(encode_chunk(data), _Future(stored))
            self._committer.wake()
            chunks.append(await stored)
        self._store(burial, _with_chunks(burial.message, tuple(chunks)), then)

    def _store(self, burial: Burial, message: Message, then: Callable[[], None]) -> None:
        payload = encode_dead(
            message,
            partition=self._partition,
            dead_at=burial.dead_at,
            reason=burial.reason,
            detail=burial.detail,
            response_start=burial.response_start[:RESPONSE_START_BYTES],
        )
        self._committer.submit_urgent(payload, _Buried(self, message, then))
        self._committer.wake()

    def buried(self, message: Message, position: int) -> None:
        """The dead letter of `message` is durable at `position`."""
        self._positions[message.wire_id] = (position, message.redrives)


def _with_chunks(message: Message, chunks: tuple[int, ...]) -> Message:
    """The same message with its body elsewhere."""
    copy = Message(
        message.destination,
        message.head,
        b"",
        timeout_ms=message.timeout_ms,
        accepted_at=message.accepted_at,
        incarnation=message.incarnation,
        chunks=chunks,
        body_size=message.body_size,
    )
    copy.position = message.position
    copy.wire_id = message.wire_id
    copy.attempt = message.attempt
    copy.history = message.history
    copy.redrives = message.redrives
    return copy


class _Buried:
    """A DEAD record on its way."""

    __slots__ = ("_letters", "_message", "_then")

    def __init__(self, letters: DeadLetters, message: Message, then: Callable[[], None]) -> None:
        self._letters = letters
        self._message = message
        self._then = then

    def stored(self, position: int) -> None:
        self._letters.buried(self._message, position)
        self._then()

    def refused(self, refusal: Refusal) -> None:
        """The log failed, so the process ends: the message is not settled, and is tried at the next
        start."""


class _Future:
    """A waiter for code that awaits; it is never told when the log failed, as the process ends
    then."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[int]) -> None:
        self._future = future

    def stored(self, position: int) -> None:
        if not self._future.done():
            self._future.set_result(position)

    def refused(self, refusal: Refusal) -> None:
        self._future.cancel()
