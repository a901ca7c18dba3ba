"""KEYS records, written: of keys whose messages' own records are to be dropped, or say something
else of them than counts now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.telling import Waiter
from dispatcher.queue.commit.waiters import Awaited
from dispatcher.queue.pending.extents import Extent
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.keys import StoredKey, encode_keys
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.registry.idempotency.block import Entry


class KeyWriter:
    """Appends such records to the log of one partition."""

    __slots__ = ("_clock", "_committer", "_pending")

    def __init__(self, pending: Pending, committer: Committer, clock: SteadyClock) -> None:
        self._pending = pending
        self._committer = committer
        self._clock = clock

    def stored(self, entry: Entry) -> StoredKey:
        """An entry as it is written."""
        return StoredKey(
            entry.hashed,
            entry.print,
            entry.position,
            entry.incarnation,
            self._clock.to_wall(QueueUs(entry.at_us)),
            entry.undelivered,
        )

    def append(
        self,
        keys: Iterable[StoredKey],
        submit: Callable[[bytes, Waiter], None],
        then: Callable[[Extent], None],
    ) -> asyncio.Future[None]:
        """Append a record of at most `MOST_KEYS` keys. `then` is told in which extent it is, once
        it is durable; what is returned is done after that, or raises `Refused`."""

        def stored(position: int) -> None:
            then(self._pending.extents.note(position, len(payload) + OVERHEAD_BYTES))

        payload = encode_keys(keys)
        written = Awaited(stored)
        submit(payload, written)
        self._committer.wake()
        return written.done
