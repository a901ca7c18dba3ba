"""Results on their way into their log.

While the disk is full, or the log is not open yet, they wait in memory, in the order in which they
came, up to a bound; above it they are refused. Nothing is lost either way: a call stays in the
transaction log, with its result, until this log has it. The space that is kept back is for the
records that forget results.

A large result is stored chunk by chunk, one at a time, and small ones go past it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from dispatcher.errors import Refusal, Refused
from dispatcher.functions.results.holdings import Holdings
from dispatcher.functions.results.records import (
    MOST_INLINE_BYTES,
    StoredResult,
    encode_result,
    result_facts,
)
from dispatcher.functions.results.refusals import RESULTS_BEHIND
from dispatcher.queue.bodies.readback import AGAIN_SECONDS
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.deadletters.writing import Writing
from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.records.chunks import encode_chunk
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import DISK_FULL, LOG_BUSY
from dispatcher.telemetry.supervisor import Supervisor

MOST_WAITING_BYTES: Final = 32 * 1024 * 1024
"""Results that wait, in bytes, before more are refused. One is always taken, however large."""
_OBJECT_BYTES: Final = 1024
"""What a result that waits takes besides its bytes, about."""
_PASSING: Final = (DISK_FULL, LOG_BUSY)

Then = Callable[[Refusal | None], None]
"""Told once what became of a result: None when it is durable, and can be read."""


class Storing:
    """Stores results. Before `begin` they wait."""

    def __init__(self, holdings: Holdings, supervisor: Supervisor) -> None:
        self.most_waiting_bytes = MOST_WAITING_BYTES
        self.waiting_bytes = 0  # of all results that are not durable yet
        self._holdings = holdings
        self._supervisor = supervisor
        self._committer: Committer | None = None
        self._writing: Writing
        self._waiting: deque[_Small] = deque()  # for space, or for the log
        self._large: deque[_Large] = deque()
        self._copying: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._has_space = asyncio.Event()
        self._has_space.set()
        self._is_stopping = False

    @property
    def is_behind(self) -> bool:
        """So much waits that no more is taken."""
        return self.waiting_bytes > self.most_waiting_bytes

    def begin(self, committer: Committer) -> None:
        """The log is open: store what waits."""
        self._committer = committer
        self._writing = Writing(committer, self._holdings.extents)
        self._try_again()
        self._go_on()

    async def stop(self) -> None:
        """Begin nothing more; of a large result that is being stored, dead bytes are left.
        Idempotent."""
        self._is_stopping = True
        if self._again is not None:
            self._again.cancel()
        if self._copying is not None:
            self._copying.cancel()
            await asyncio.wait([self._copying])

    def store(self, result: StoredResult, then: Then) -> None:
        """Store a result; `then` is told what became of it, perhaps before this returns."""
        if self.is_behind:
            then(RESULTS_BEHIND)
            return
        size = len(result.result) + _OBJECT_BYTES
        if len(result.result) > MOST_INLINE_BYTES:
            self._large.append(_Large(result, size, then))
            self.waiting_bytes += size
            self._go_on()
            return
        small = _Small(self, encode_result(result), size, then, None)
        self.waiting_bytes += size
        self._submit(small)

    def space_changed(self, *, full: bool) -> None:
        """The disk became full, or there is space again."""
        if full:
            self._has_space.clear()
            return
        self._has_space.set()
        self._try_again()

    def _submit(self, small: _Small) -> None:
        if self._committer is None or self._waiting:  # not past those that came before
            self._waiting.append(small)
        else:
            self._committer.submit(small.payload, small)

    def _try_again(self) -> None:
        self._again = None
        if self._committer is None or self._committer.full:
            return
        waiting, self._waiting = self._waiting, deque()
        for small in waiting:
            self._committer.submit(small.payload, small)

    def entered(self, small: _Small, position: int) -> None:
        """A record of a result is durable at `position`."""
        size = len(small.payload) + OVERHEAD_BYTES
        self._holdings.enter(result_facts(small.payload), position, size)
        self.waiting_bytes -= small.size_bytes

    def refused(self, small: _Small, refusal: Refusal) -> bool:
        """A record is not stored; whether it waits now. Without space, or while something else is
        lacking, it does."""
        if refusal not in _PASSING:
            self.waiting_bytes -= small.size_bytes
            return False
        self._waiting.append(small)
        if refusal is LOG_BUSY and self._again is None:  # nobody says when that is over
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(AGAIN_SECONDS, self._try_again)
        return True

    # Large ones.

    def _go_on(self) -> None:
        if self._committer is None or self._copying is not None or self._is_stopping:
            return
        if self._large:
            self._copying = self._supervisor.spawn("large results", self._store_large())
            self._copying.add_done_callback(self._copying_ended)

    def _copying_ended(self, task: asyncio.Task[None]) -> None:
        self._copying = None
        if not task.cancelled():
            self._go_on()

    async def _store_large(self) -> None:
        """Store large results, one after the other. What is stored of one that finds too little
        space stays: a chunk that was written in vain would take space until all that lies beside
        it expires."""
        while self._large:
            await self._has_space.wait()
            large = self._large[0]
            try:
                chunks = await large.pieces.store(large.result.result, self._writing)
            except Refused as error:
                if error.refusal not in _PASSING:
                    self._give_up(error.refusal)
                    return
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self._large.popleft()
            payload = encode_result(large.result, chunks)
            self._submit(_Small(self, payload, large.size_bytes, large.then, large.pieces))

    def _give_up(self, refusal: Refusal) -> None:
        """The log stores nothing any more."""
        large, self._large = self._large, deque()
        for one in large:
            self.waiting_bytes -= one.size_bytes
            one.pieces.let_go()
            one.then(refusal)


class _Large:
    """A result that has to be cut up, and who is told then."""

    __slots__ = ("pieces", "result", "size_bytes", "then")

    def __init__(self, result: StoredResult, size_bytes: int, then: Then) -> None:
        self.pieces = _Pieces()
        self.result = result
        self.size_bytes = size_bytes
        self.then = then


class _Pieces:
    """Chunks of a large result; they are held until its record holds them."""

    __slots__ = ("_extents", "_held")

    def __init__(self) -> None:
        self._held: list[tuple[int, int]] = []
        self._extents: Extents | None = None

    async def store(self, data: bytes, writing: Writing) -> list[int]:
        """Store the chunks that are not stored yet; returns the positions of all. Raises Refused;
        CancelledError when the log failed."""
        self._extents = writing.extents
        for start in range(len(self._held) * MOST_INLINE_BYTES, len(data), MOST_INLINE_BYTES):
            payload = encode_chunk(data[start : start + MOST_INLINE_BYTES])
            position = await writing.submit(payload, is_copy=False)
            self._held.append((position, len(payload) + OVERHEAD_BYTES))
        return [position for position, _ in self._held]

    def let_go(self) -> None:
        """Hold them no more. Idempotent."""
        held, self._held = self._held, []
        for position, size in held:
            assert self._extents is not None
            self._extents.release(position, size)


class _Small:
    """A RESULT record on its way."""

    __slots__ = ("_pieces", "_storing", "_then", "payload", "size_bytes")

    def __init__(
        self,
        storing: Storing,
        payload: bytes,
        size_bytes: int,
        then: Then,
        pieces: _Pieces | None,
    ) -> None:
        self.payload = payload
        self.size_bytes = size_bytes
        self._storing = storing
        self._then = then
        self._pieces = pieces

    def stored(self, position: int) -> None:
        """See `Waiter`."""
        try:
            self._storing.entered(self, position)
        finally:  # whatever happened, it is on the disk
            if self._pieces is not None:
                self._pieces.let_go()
        self._then(None)

    def refused(self, refusal: Refusal) -> None:
        """See `Waiter`."""
        if not self._storing.refused(self, refusal):
            if self._pieces is not None:
                self._pieces.let_go()
            self._then(refusal)
