"""Removing dead letters for good: those that were redriven, and those that were purged.

A letter is forgotten in memory at once, and nobody is told before its record is durable. Those that
are removed before the next batch share one record, a few bytes each: on a full disk purging is what
makes space, and must not take much of what is kept back for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from dispatcher.errors import LogUnavailable, Refusal
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.waiters import Noted, NotedForAll
from dispatcher.queue.deadletters.holdings import Holdings
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.records.removed import Removal, encode_removals
from dispatcher.txlog import TransactionLog

AT_ONCE = 2000
"""Letters in one record: 2 ms of packing."""

Then = Callable[[Refusal | None], None]
"""Told that letters are gone for good, or why that is not certain: the log failed."""


class Removing:
    """Writes the records of what is removed."""

    __slots__ = ("_committer", "_gathered", "_holdings")

    def __init__(self, holdings: Holdings, committer: Committer) -> None:
        self._holdings = holdings
        self._committer = committer
        self._gathered: deque[tuple[list[Removal], Then]] = deque()

    def remove(self, ids: Sequence[bytes], then: Then) -> None:
        """Forget letters that are there, a few hundred at most; `then` is called once that is
        durable, or with the reason why it is not: the log failed. There is space kept back for
        this."""
        letters = self._holdings.letters
        removals = []
        for message_id in ids:
            row = letters.find(message_id)
            assert row >= 0, "there is no such letter"
            removals.append(Removal(message_id, letters.redrives(row)))
            self._holdings.forget(message_id)
        self._gathered.append((removals, then))
        self._committer.wake()

    def collect(self) -> None:
        """Put what was removed since the last batch into the next one, or a part of it."""
        if not self._gathered:
            return
        removals: list[Removal] = []
        thens: list[Then] = []
        while self._gathered and len(removals) < AT_ONCE:
            more, then = self._gathered.popleft()
            removals += more
            thens.append(then)
        payload = encode_removals(removals)
        size = len(payload) + OVERHEAD_BYTES
        self._committer.submit_urgent(payload, NotedForAll(self._holdings.extents, size, thens))
        if self._gathered:
            self._committer.wake()

    async def drop(self, log: TransactionLog, ids: Sequence[bytes]) -> None:
        """Forget letters whose messages are back in the queue, before anything is delivered: if one
        was delivered first, and a crash came, its letter would be there again.

        The log is open, and the committer was not started. On a full disk it is done when there is
        space.

        Raises:
            LogError: the log failed.
        """
        letters = self._holdings.letters
        for start in range(0, len(ids), AT_ONCE):
            portion = ids[start : start + AT_ONCE]
            payload = encode_removals(
                Removal(one, letters.redrives(letters.find(one))) for one in portion
            )
            noted = Noted(self._holdings.extents, len(payload) + OVERHEAD_BYTES)
            try:
                (position,) = await log.append([payload], urgent=True)
            except LogUnavailable:
                self._committer.submit_urgent(payload, noted)
            else:
                noted.stored(position)
            for message_id in portion:
                self._holdings.forget(message_id)
