"""SETTLED records: the messages that are done.

Nobody waits for one to be durable, with one exception: what is delivered but not written down is
delivered again after a crash, and that is what is promised. So positions are gathered, and written
with the next batch. The exception is an operator, whose change must not be undone: see `durable`.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence

from dispatcher.errors import Refusal, Refused
from dispatcher.queue.committer import Committer
from dispatcher.queue.pending import Pending
from dispatcher.queue.records import NOTHING, OVERHEAD_BYTES, encode_settled
from dispatcher.queue.refusals import NOT_DURABLE_FULL, NOT_DURABLE_SLOW

WAIT_SECONDS = 10.0
"""How long an operator waits for a disk before being told to come again."""
_MOST_AT_ONCE = 16_384


class Settlements:
    """Writes the SETTLED records of one queue. `positions` are the id positions of the messages
    that were settled since the last batch."""

    __slots__ = ("_committer", "_pending", "positions")

    def __init__(self, pending: Pending, committer: Committer) -> None:
        self.positions = array("Q")
        self._pending = pending
        self._committer = committer

    def collect(self) -> None:
        """Put what was settled since the last batch into the next one."""
        positions = self.positions
        while positions:
            payload = encode_settled(positions[:_MOST_AT_ONCE])
            del positions[:_MOST_AT_ONCE]
            self._committer.submit_urgent(payload, _Noted(self._pending, len(payload)))

    async def durable(self) -> None:
        """Return when everything that was settled so far is durable.

        Raises:
            Refused: it takes longer than `WAIT_SECONDS`, because not even the space that is kept
                back is left, or the disk is stuck; or the log failed.
        """
        self.collect()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committer.submit_urgent(NOTHING, _Barrier(self._pending, len(NOTHING), done))
        self._committer.wake()
        await in_time([done], lambda: self._committer.full)


async def in_time(done: Sequence[asyncio.Future[None]], is_full: Callable[[], bool]) -> None:
    """Wait for what an operator wants to be stored, for `WAIT_SECONDS` at most; `is_full` says
    whether there is space.

    Raises:
        Refused: it takes longer, and may still be stored. Or what one of those raised.
    """
    if not done:
        return
    ended, late = await asyncio.wait(done, timeout=WAIT_SECONDS)
    errors = [error for one in ended if (error := one.exception()) is not None]
    for one in late:
        one.cancel()
    if late:
        errors.append(Refused(NOT_DURABLE_FULL if is_full() else NOT_DURABLE_SLOW))
    if errors:
        raise errors[0]


class _Noted:
    """A record that is never needed by itself: it only takes space in the log."""

    __slots__ = ("_pending", "_size")

    def __init__(self, pending: Pending, size: int) -> None:
        self._pending = pending
        self._size = size + OVERHEAD_BYTES

    def stored(self, position: int) -> None:
        self._pending.extents.note(position, self._size)

    def refused(self, refusal: Refusal) -> None:
        """The log failed and the process ends."""


class _Barrier(_Noted):
    """The record behind everything that had to be durable."""

    __slots__ = ("_done",)

    def __init__(self, pending: Pending, size: int, done: asyncio.Future[None]) -> None:
        super().__init__(pending, size)
        self._done = done

    def stored(self, position: int) -> None:
        super().stored(position)
        if not self._done.done():
            self._done.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        if not self._done.done():
            self._done.set_exception(Refused(refusal))
            self._done.exception()  # seen: who waited may have been ended
