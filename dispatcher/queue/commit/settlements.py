"""SETTLED, DELIVERED and UNDELIVERED records: the messages that are done.

Where the log is kept as history (EVENT_SOURCING), what was delivered is named in DELIVERED records,
and SETTLED ones name the others: dead and cancelled. Elsewhere nobody would ever ask, and SETTLED
records name all of them. UNDELIVERED ones name those of the others that have an idempotency key,
which is free as soon as nothing is left of them (`registry.idempotency`).

Nobody waits for one to be durable, with one exception: what is delivered but not written down is
delivered again after a crash, and that is what is promised. So names are gathered, and written
with the next batch. The exception is an operator, whose change must not be undone: see `durable`.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence

from dispatcher.errors import Refusal, Refused
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.names import Names
from dispatcher.queue.commit.waiters import Noted, NotedUnit
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.kinds import NOTHING, OVERHEAD_BYTES
from dispatcher.queue.records.settled import (
    encode_delivered,
    encode_settled,
    encode_settled_packed,
    encode_undelivered,
)
from dispatcher.queue.refusals import NOT_DURABLE_FULL, NOT_DURABLE_SLOW

WAIT_SECONDS = 10.0
"""How long an operator waits for a disk before being told to come again."""
_DELIVERED_AT_ONCE = 1024
"""Half a millisecond of packing, and as much for who reads it."""


class Settlements:
    """Writes the SETTLED, DELIVERED and UNDELIVERED records of one queue.

    `buried_upto` is a position in the dead-letter log: the messages of all letters before it are
    settled, durably, but for those that end together with something else (`endings`). `delivered`
    takes the names of what was delivered, for the next batch.
    """

    __slots__ = (
        "_committer",
        "_dead_end",
        "_keeps_history",
        "_pending",
        "_settled",
        "_undelivered",
        "buried_upto",
        "delivered",
    )

    def __init__(
        self,
        pending: Pending,
        committer: Committer,
        dead_end: Callable[[], int] = lambda: 0,
        *,
        keeps_history: bool = False,
    ) -> None:
        """`dead_end` says where the dead-letter log ends: what lies before it was added here."""
        self.buried_upto = 0
        self._dead_end = dead_end
        self._keeps_history = keeps_history
        # Since the last batch.
        self._settled = Names(encode_settled, encode_settled_packed)
        self._undelivered = Names(
            encode_undelivered, encode_undelivered, most_at_once=_DELIVERED_AT_ONCE
        )
        self.delivered = self._settled
        if keeps_history:
            self.delivered = Names(
                encode_delivered, encode_delivered, most_at_once=_DELIVERED_AT_ONCE
            )
        self._pending = pending
        self._committer = committer

    @property
    def waiting(self) -> int:
        """How many messages were settled since the last batch."""
        count = self._settled.count + self._undelivered.count
        return count if self.delivered is self._settled else count + self.delivered.count

    @property
    def _is_written(self) -> bool:
        """Whether nothing was settled since the last batch."""
        return self._settled.is_empty and self.delivered.is_empty and self._undelivered.is_empty

    def add(self, incarnation: int, id_position: int) -> None:
        """This message is done, and was not delivered: it is written down with the next batch."""
        self._settled.add(incarnation, id_position)

    def add_undelivered(self, incarnation: int, id_position: int) -> None:
        """The same of a message that has an idempotency key."""
        self._undelivered.add(incarnation, id_position)

    def record_of(
        self, incarnation: int, id_position: int, *, delivered: bool, has_key: bool
    ) -> bytes:
        """The record that settles this message alone; `has_key` counts of one that was not
        delivered."""
        positions = array("Q", [id_position])
        if has_key and not delivered:
            return encode_undelivered(incarnation, positions)
        if delivered and self._keeps_history:
            return encode_delivered(incarnation, positions)
        return encode_settled(incarnation, positions)

    def collect(self) -> None:
        """Put what was settled since the last batch into the next one."""
        if self._is_written:
            return
        if self._committer.full:
            self._collect_packed()
            return
        payloads = self._take()
        for payload in payloads[:-1]:
            self._committer.submit_urgent(
                payload, Noted(self._pending.extents, len(payload) + OVERHEAD_BYTES)
            )
        self._submit_last(payloads[-1])

    def _submit_last(self, payload: bytes) -> None:
        """Submit the record behind which nothing is left to be settled for now."""
        self._committer.submit_urgent(payload, _Last(self, payload, self._dead_end()))

    def noted(self, position: int, size: int) -> None:
        """A record of `size` bytes was stored at `position`."""
        self._pending.extents.note(position, size)

    def opened(self) -> None:
        """Both logs were read, and what is in both was settled here."""
        if self._is_written:
            self.buried_upto = self._dead_end()

    def _take(self) -> list[bytes]:
        """The records of all that was settled since the last batch."""
        return [*self.delivered.take(), *self._undelivered.take(), *self._settled.take()]

    def _collect_packed(self) -> None:
        """Take as little as possible of the space that is kept back, and of the loop's time."""
        names = self._settled if self.delivered.is_empty else self.delivered
        if names.is_empty:
            names = self._undelivered
        payload = names.take_packed()
        if self._is_written:
            self._submit_last(payload)
            return
        self._committer.submit_urgent(
            payload, Noted(self._pending.extents, len(payload) + OVERHEAD_BYTES)
        )
        self._committer.wake()

    async def durable(self) -> None:
        """Return when everything that was settled so far is durable.

        Raises:
            Refused: it takes longer than `WAIT_SECONDS`, because not even the space that is kept
                back is left, or the disk is stuck; or the log failed.
        """
        while self._committer.full and not self._is_written:
            self._collect_packed()
            await asyncio.sleep(0)
        payloads = self._take() or [NOTHING]
        # Records of one operator's wish are one unit, as far as a batch holds them.
        most = self._committer.most_records(max(map(len, payloads)))
        for start in range(0, len(payloads), most):
            portion = payloads[start : start + most]
            sizes = [len(payload) + OVERHEAD_BYTES for payload in portion]
            unit = NotedUnit(self._pending.extents, sizes)
            self._committer.submit_unit(portion, unit)
        self._committer.wake()
        await in_time([unit.done], lambda: self._committer.full)  # the last: those before it are


class _Last:
    """A SETTLED record on its way: all that was settled before it was made is durable with it."""

    __slots__ = ("_dead_end", "_settlements", "_size")

    def __init__(self, settlements: Settlements, payload: bytes, dead_end: int) -> None:
        self._settlements = settlements
        self._size = len(payload) + OVERHEAD_BYTES
        self._dead_end = dead_end

    def stored(self, position: int) -> None:
        self._settlements.noted(position, self._size)
        self._settlements.buried_upto = self._dead_end

    def refused(self, refusal: Refusal) -> None:
        """The log failed and the process ends."""


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
