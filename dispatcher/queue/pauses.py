"""Destinations that an operator paused: kept in the transaction log, so that a restart knows them.

Each change appends one record with all of them. The newest counts; the place in the log where it
lies is needed, and the compactor has it written again before that is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from dispatcher.errors import Refusal, Refused
from dispatcher.queue.committer import Committer
from dispatcher.queue.extents import Extent, Extents
from dispatcher.queue.records import OVERHEAD_BYTES, decode_paused, encode_paused
from dispatcher.queue.refusals import TOO_MANY_PAUSED

MOST = 1000
"""Destinations that may be paused: all of them are in one record, which has to fit into a batch."""


class Pauses:
    """Keys (`scheme://host[:port]`) of the paused destinations."""

    def __init__(self, extents: Extents, committer: Committer) -> None:
        self.keys: frozenset[bytes] = frozenset()
        self._extents = extents
        self._committer = committer
        self._held: tuple[int, int] | None = None
        # A record has all keys: one that is made while another is on its way would undo that.
        self._turn = asyncio.Lock()

    def visit(self, position: int, payload: bytes) -> None:
        """Take in a record while the log is opened; it was noted in the extents."""
        self.keys = frozenset(decode_paused(payload))
        self._hold(position, len(payload) + OVERHEAD_BYTES)

    async def change(self, key: bytes, *, held: bool) -> None:
        """Write down that a destination is paused, or is not; returns when that is durable.

        Raises:
            Refused: there is no space for it now, or `MOST` others are paused.
        """
        async with self._turn:
            keys = self.keys | {key} if held else self.keys - {key}
            if len(keys) > max(MOST, len(self.keys)):
                raise Refused(TOO_MANY_PAUSED)
            await self._set(keys)

    async def _set(self, keys: Iterable[bytes]) -> None:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wanted = frozenset(keys)
        self._committer.submit(encode_paused(wanted), _Stored(self, wanted, stored))
        await stored

    async def move_from(self, extent: Extent) -> None:
        """Write the record again if it lies in this extent, which is about to be dropped."""
        async with self._turn:
            if self._held is not None and self._extents.of(self._held[0]) is extent:
                await self._set(self.keys)

    def stored(self, keys: frozenset[bytes], position: int, size: int) -> None:
        """The newest record is durable at `position`."""
        self._extents.note(position, size)
        self.keys = keys
        self._hold(position, size)

    def _hold(self, position: int, size: int) -> None:
        if self._held is not None:
            self._extents.release(*self._held)
        self._held = None
        if self.keys:
            self._held = (position, size)
            self._extents.hold(position, size)


class _Stored:
    """A PAUSED record on its way."""

    __slots__ = ("_done", "_keys", "_pauses", "_size")

    def __init__(self, pauses: Pauses, keys: frozenset[bytes], done: asyncio.Future[None]) -> None:
        self._pauses = pauses
        self._keys = keys
        self._size = len(encode_paused(keys)) + OVERHEAD_BYTES
        self._done = done

    def stored(self, position: int) -> None:
        self._pauses.stored(self._keys, position, self._size)
        if not self._done.done():
            self._done.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        if not self._done.done():
            self._done.set_exception(Refused(refusal))
