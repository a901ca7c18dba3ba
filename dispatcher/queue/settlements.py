"""SETTLED records: the messages that are done.

Nobody waits for one to be durable, with one exception: what is delivered but not written down is
delivered again after a crash, and that is what is promised. So positions are gathered, and written
with the next batch. The exception is an operator, whose change must not be undone: see `barrier`.
"""

from __future__ import annotations

import asyncio
from array import array

from dispatcher.errors import Refusal, Refused
from dispatcher.queue.committer import Committer
from dispatcher.queue.pending import Pending
from dispatcher.queue.records import NOTHING, OVERHEAD_BYTES, encode_settled

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

    def barrier(self) -> asyncio.Future[None]:
        """A future that is done when everything that was settled so far is durable. It raises
        `Refused` when there is no space for that, or the log failed."""
        self.collect()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committer.submit_urgent(NOTHING, _Barrier(self._pending, len(NOTHING), done))
        self._committer.wake()
        return done


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
