"""Records on their way into the dead-letter log, and the chunks of large bodies among them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from dispatcher.errors import Refusal, Refused
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.records.chunks import encode_chunk
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import GONE


class Writing:
    """Appends records that are held from the moment they are durable, so that nothing is trimmed
    away before their owner has them."""

    __slots__ = ("_committer", "extents")

    def __init__(self, committer: Committer, extents: Extents) -> None:
        self._committer = committer
        self.extents = extents

    def submit(self, payload: bytes, *, is_copy: bool) -> asyncio.Future[int]:
        """Append a record that is needed until the caller says `extents.release`; the future has
        its position when it is durable. It raises `Refused` when there is no space, and is
        cancelled when the log failed. `is_copy`: of what is stored already, see `commit.copies`."""
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiter = _Held(self.extents, len(payload) + OVERHEAD_BYTES, stored)
        if is_copy:
            self._committer.copies.submit(payload, waiter)
            self._committer.wake()
        else:
            self._committer.submit(payload, waiter)
        return stored


class Body:
    """The chunks of a large body on their way into the dead-letter log. They are held until its
    letter holds them."""

    def __init__(self, writing: Writing, *, is_copy: bool) -> None:
        self._writing = writing
        self._is_copy = is_copy
        self._held: list[tuple[int, int]] = []

    async def copy(
        self, places: Sequence[int], read: Callable[[int, int], Awaitable[bytes]]
    ) -> tuple[int, ...]:
        """Copy chunks, each by its number and its place; returns the positions of the copies.

        Raises:
            Refused: there is no space. And what `read` raises.
        """
        chunks = []
        for number, place in enumerate(places):
            payload = encode_chunk(await read(number, place))
            copied = await self._writing.submit(payload, is_copy=self._is_copy)
            self._held.append((copied, len(payload) + OVERHEAD_BYTES))
            chunks.append(copied)
        return tuple(chunks)

    def let_go(self) -> None:
        """Let go of everything that is held. Idempotent."""
        held, self._held = self._held, []
        for position, size in held:
            self._writing.extents.release(position, size)


class _Held:
    """A record that somebody waits for. It is held here: before he goes on, the log's space is
    looked at."""

    __slots__ = ("_extents", "_future", "_size")

    def __init__(self, extents: Extents, size: int, future: asyncio.Future[int]) -> None:
        self._extents = extents
        self._size = size
        self._future = future

    def stored(self, position: int) -> None:
        self._extents.note(position, self._size)
        self._extents.hold(position, self._size)
        if not self._future.done():
            self._future.set_result(position)

    def refused(self, refusal: Refusal) -> None:
        if refusal in GONE:
            self._future.cancel()
        elif not self._future.done():
            self._future.set_exception(Refused(refusal))
