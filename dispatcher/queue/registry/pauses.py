"""Destinations that an operator holds: kept in the transaction log, so that a restart knows them.

Each change appends one record with all of them. The newest counts; the place in the log where it
lies is needed, and the reclaimer has it written again before that is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from dispatcher.errors import Refused
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.telling import Waiter
from dispatcher.queue.commit.waiters import Awaited
from dispatcher.queue.pending.extents import Extent, Extents
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.records.paused import decode_paused, encode_paused
from dispatcher.queue.refusals import TOO_MANY_HELD

MOST = 1000
"""Destinations that may be held: all of them are in one record, which has to fit into a batch."""


class Pauses:
    """Keys (`scheme://host[:port]`) of the destinations that are held."""

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
        """Write down that a destination is held, or is not; returns when that is durable.

        That one is not held any more may use what is kept back of a full disk: it may be full of
        messages to that one.

        Raises:
            Refused: there is no space for it now, or `MOST` others are held.
        """
        async with self._turn:
            keys = self.keys | {key} if held else self.keys - {key}
            if len(keys) > max(MOST, len(self.keys)):
                raise Refused(TOO_MANY_HELD)
            committer = self._committer
            is_urgent = not held and committer.full and not committer.is_stuck
            await self._set(keys, committer.submit_urgent if is_urgent else committer.submit)

    async def _set(self, keys: Iterable[bytes], submit: Callable[[bytes, Waiter], None]) -> None:
        wanted = frozenset(keys)
        payload = encode_paused(wanted)
        waiter = Awaited(partial(self._stored, wanted, len(payload) + OVERHEAD_BYTES))
        submit(payload, waiter)
        self._committer.wake()
        await waiter.done

    async def move_from(self, extent: Extent) -> None:
        """Write the record again if it lies in this extent, which is about to be dropped.

        Raises:
            Refused: there is no space for it now.
        """
        async with self._turn:
            if self._held is not None and self._extents.of(self._held[0]) is extent:
                await self._set(self.keys, self._committer.copies.submit)

    def _stored(self, keys: frozenset[bytes], size: int, position: int) -> None:
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
