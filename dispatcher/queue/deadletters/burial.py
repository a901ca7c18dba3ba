"""Burying: a message that is given up is stored as a dead letter.

While the disk is full, dead letters wait in memory: the space that is kept back is for the records
that remove some. A large body stays where it is meanwhile, in the transaction log, and only a few
are copied at once: what their letters take while they wait is counted like the others, so that
no more attempts are started when it is too much. The input of a call stays there too, whatever its
size, and is read when its turn comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from dispatcher.core.message import Message
from dispatcher.errors import LogBusy, Refusal, Refused
from dispatcher.queue.bodies.readback import AGAIN_SECONDS, Chunks
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.deadletters.holdings import Holdings
from dispatcher.queue.deadletters.uptime import Uptime
from dispatcher.queue.deadletters.writing import Body, Writing
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.records.either import AnyLetter, encode_letter, facts_of
from dispatcher.queue.records.history import ATTEMPT_FIELDS
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.records.letters import DeadLetter, LetterFacts
from dispatcher.queue.refusals import DISK_FULL, LOG_BUSY, RECORD_TOO_LARGE
from dispatcher.telemetry.supervisor import Supervisor

RESPONSE_START_BYTES = 1024
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Dead letters that wait for space, in bytes, before no more attempts are started."""
COPIES_AT_ONCE = 4
"""Large bodies that are copied at the same time, each with one chunk in memory."""
_MOST_HISTORY_BYTES = 1001 * ATTEMPT_FIELDS.size
"""Of the last attempts: as many as there can be (RETRYLIMIT is 1000 at most). What was imported may
say that there were more, and with all of them no batch might hold its letter."""
_OBJECT_BYTES = 1024
"""What a letter that waits takes besides its bytes, about."""
_LOOK_SECONDS = 0.05
_MOST_PAUSE_SECONDS = 16.0
"""Between copies of a large body that find no space: each was written in vain."""


@dataclass(frozen=True, slots=True)
class Burial:
    """A message that is given up, and why. `held_bytes` is what is kept in memory besides it until
    its letter is durable."""

    message: Message
    reason: str
    detail: str
    response_start: bytes
    dead_at: int
    held_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Large:
    """A letter whose body has to be copied, what it takes in memory, and who is told then. `fill`
    returns the letter with all of it."""

    fill: Callable[[Body], Awaitable[AnyLetter]]
    size_bytes: int
    then: Callable[[], None]


_PASSING = (DISK_FULL, LOG_BUSY)

TooLarge = Callable[[LetterFacts, int], None]
"""Told of a letter that no record can hold, and how many bytes it has."""


class Burying:
    """Stores dead letters. `bodies` reads large bodies back from the transaction log, `failed` is
    told when that does not work: the process must end. A letter that is `too_large` is told and
    not stored: what died stays where it is, in the transaction log, and dies again after the next
    start."""

    def __init__(
        self,
        holdings: Holdings,
        committer: Committer,
        writing: Writing,
        bodies: Chunks,
        uptime: Uptime,
        *,
        partition: int,
        failed: Callable[[Exception], None],
        too_large: TooLarge,
        supervisor: Supervisor,
    ) -> None:
        self._too_large = too_large
        self._supervisor = supervisor
        self._holdings = holdings
        self._committer = committer
        self._writing = writing
        self._bodies = bodies
        self._uptime = uptime
        self._partition = partition
        self._failed = failed
        self._waiting: list[_Buried] = []  # for space
        self._waiting_bytes = 0
        self._large: deque[_Large] = deque()
        self._large_bytes = 0
        self._copies: set[asyncio.Task[None]] = set()
        self._copies_at_once = COPIES_AT_ONCE
        self._pause_s = 0.0
        self._has_space = asyncio.Event()
        self._has_space.set()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of dead letters that are not handed to the log yet."""
        return self._waiting_bytes + self._large_bytes

    @property
    def is_pausing(self) -> bool:
        """A large body found too little space, and is copied again after a while."""
        return self._pause_s > 0

    def bury(self, burial: Burial, then: Callable[[], None]) -> None:
        """Store a dead letter; `then` is called once it is durable, and not before."""
        letter, message = self.letter(burial), burial.message
        if message.chunks is None:
            self._store(letter, then, None, burial.held_bytes)
            return
        size = (
            burial.held_bytes + len(message.head) + len(message.history) + 8 * len(message.chunks)
        )
        self._line_up(partial(self._copied, letter, message.chunks), size, then)

    def bury_call(
        self, letter: CallLetter, read: Callable[[], Awaitable[bytes]], then: Callable[[], None]
    ) -> None:
        """Store the letter of a call; `read` gives its input, and may be asked again."""
        history = letter.history[-_MOST_HISTORY_BYTES:]
        letter = replace(letter, history=history, body=b"", uptime_s=self._uptime.at_death_s)
        self._line_up(partial(_with_input, letter, read), len(history), then)

    def _line_up(
        self, fill: Callable[[Body], Awaitable[AnyLetter]], size: int, then: Callable[[], None]
    ) -> None:
        large = _Large(fill, size + _OBJECT_BYTES, then)
        self._large.append(large)
        self._large_bytes += large.size_bytes
        if len(self._copies) < self._copies_at_once:
            self._start_copying()

    def letter(self, burial: Burial) -> DeadLetter:
        """The letter of a message that is given up now."""
        message = burial.message
        message.history = message.history[-_MOST_HISTORY_BYTES:]
        return DeadLetter(
            self._partition,
            message,
            burial.dead_at,
            burial.reason,
            burial.detail,
            burial.response_start[:RESPONSE_START_BYTES],
            self._uptime.at_death_s,
        )

    def space_changed(self, *, full: bool) -> None:
        """The disk became full, or there is space again."""
        if full:
            self._has_space.clear()
            return
        self._has_space.set()
        self._try_again()

    def _try_again(self) -> None:
        if self._committer.full:
            return
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for buried in waiting:
            self._committer.submit(buried.payload, buried)

    async def flush(self) -> None:
        """Return when what was buried is durable, or has to wait for space."""
        await self._committer.flush()
        while self._copies and not (self._committer.full or self._committer.dead):
            await asyncio.wait(self._copies, timeout=_LOOK_SECONDS)
            await self._committer.flush()

    def _start_copying(self) -> None:
        task = self._supervisor.spawn("large dead letters", self._copy_large())
        self._copies.add(task)
        task.add_done_callback(self._copying_ended)

    def _copying_ended(self, task: asyncio.Task[None]) -> None:
        """Go on with what is left: the task died of another letter, or one came when it had found
        nothing more to do."""
        self._copies.discard(task)
        if not self._large:
            self._copies_at_once = COPIES_AT_ONCE
        elif len(self._copies) < self._copies_at_once and not task.cancelled():
            self._start_copying()

    async def _copy_large(self) -> None:
        """Copy large bodies, chunk by chunk, and store their dead letters, one after the other."""
        while self._large:
            await self._has_space.wait()
            if not self._large or len(self._copies) > self._copies_at_once:
                return
            large = self._large.popleft()
            body = Body(self._writing, is_copy=False)
            again_s = 0.0
            try:
                letter = await large.fill(body)
            except Refused as error:
                if error.refusal is RECORD_TOO_LARGE:
                    self._large_bytes -= large.size_bytes
                    body.let_go()
                    raise  # told by the supervisor; it dies again after the next start
                if error.refusal not in _PASSING:
                    return
                again_s = AGAIN_SECONDS if error.refusal is LOG_BUSY else self._found_no_space()
            except (LogBusy, MemoryError):
                again_s = AGAIN_SECONDS
            except Exception as error:
                self._failed(error)  # the message would wait for ever, and silently
                return
            else:
                self._large_bytes -= large.size_bytes
                self._store(letter, large.then, _Copied(large, body))
                continue
            body.let_go()
            self._large.appendleft(large)
            await asyncio.sleep(again_s)

    def _found_no_space(self) -> float:
        """Copy one by one from now on: side by side each may take the space that another one needs.
        Returns for how many seconds nothing is copied: longer each time that one alone found too
        little."""
        self._copies_at_once = 1
        if len(self._copies) > 1:
            return 0.0
        self._pause_s = min(2 * self._pause_s, _MOST_PAUSE_SECONDS) or 1.0
        return self._pause_s

    async def _copied(self, letter: DeadLetter, chunks: tuple[int, ...], body: Body) -> DeadLetter:
        return letter.with_chunks(await body.copy(chunks, self._read))

    async def _read(self, number: int, position: int) -> bytes:
        (data,) = await self._bodies.read([position])
        return data

    def _store(
        self,
        letter: AnyLetter,
        then: Callable[[], None],
        copied: _Copied | None,
        held_bytes: int = 0,
    ) -> None:
        try:
            payload = encode_letter(letter)
        except MemoryError:
            loop = asyncio.get_running_loop()
            loop.call_later(AGAIN_SECONDS, self._store, letter, then, copied, held_bytes)
            return
        buried = _Buried(self, payload, then, copied)
        buried.held_bytes = held_bytes
        self._committer.submit(buried.payload, buried)

    def stored(self, buried: _Buried, position: int) -> None:
        """A dead letter is durable at `position`."""
        size = len(buried.payload) + OVERHEAD_BYTES
        self._holdings.extents.note(position, size)
        self._holdings.enter(facts_of(buried.payload), position, size)
        if buried.copied is not None:
            self._pause_s = 0.0
            buried.copied.body.let_go()

    def refused(self, buried: _Buried, refusal: Refusal) -> None:
        """A dead letter is not stored. Without space, or while something else is lacking, it waits.
        One that is too large never is. Otherwise the process ends, and its message, which is not
        settled, is given up again after the next start.

        What was copied of a large body is let go of: while it waited it would keep the segment that
        it lies in, and perhaps all of the log that could be free.
        """
        if refusal is RECORD_TOO_LARGE:
            if buried.copied is not None:
                buried.copied.body.let_go()
            self._too_large(facts_of(buried.payload), len(buried.payload))
        if refusal not in _PASSING:
            return
        if buried.copied is not None and refusal is not LOG_BUSY:
            buried.copied.body.let_go()
            self._large.appendleft(buried.copied.large)
            self._large_bytes += buried.copied.large.size_bytes
            again_s = self._found_no_space()
            asyncio.get_running_loop().call_later(again_s, self._copy_again)
            return
        self._waiting.append(buried)
        self._waiting_bytes += len(buried.payload) + buried.held_bytes + _OBJECT_BYTES
        if refusal is LOG_BUSY:  # nobody says when that is over
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._try_again)

    def _copy_again(self) -> None:
        if self._large and len(self._copies) < self._copies_at_once:
            self._start_copying()


async def _with_input(
    letter: CallLetter, read: Callable[[], Awaitable[bytes]], body: Body
) -> CallLetter:
    data = await read()
    letter = replace(letter, body_size=len(data))
    if len(data) <= CHUNK_BYTES:
        return replace(letter, body=data)

    async def piece(_: int, start: int) -> bytes:
        return data[start : start + CHUNK_BYTES]

    return letter.with_chunks(await body.copy(range(0, len(data), CHUNK_BYTES), piece))


@dataclass(frozen=True, slots=True)
class _Copied:
    """A large body that lies in the dead-letter log already, and what it was copied for."""

    large: _Large
    body: Body


class _Buried:
    """A DEAD or DEAD_CALL record on its way."""

    __slots__ = ("_burying", "_then", "copied", "held_bytes", "payload")

    def __init__(
        self,
        burying: Burying,
        payload: bytes,
        then: Callable[[], None],
        copied: _Copied | None,
    ) -> None:
        self.payload = payload
        self.copied = copied
        self.held_bytes = 0
        self._burying = burying
        self._then = then

    def stored(self, position: int) -> None:
        self._burying.stored(self, position)
        self._then()

    def refused(self, refusal: Refusal) -> None:
        self._burying.refused(self, refusal)
