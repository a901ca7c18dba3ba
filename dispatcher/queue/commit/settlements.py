"""SETTLED records: the messages that are done.

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
from dispatcher.queue.commit.waiters import Noted, NotedUnit
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.kinds import NOTHING, OVERHEAD_BYTES
from dispatcher.queue.records.settled import encode_settled, encode_settled_packed
from dispatcher.queue.refusals import NOT_DURABLE_FULL, NOT_DURABLE_SLOW

WAIT_SECONDS = 10.0
"""How long an operator waits for a disk before being told to come again."""
_MOST_AT_ONCE = 16_384
_PACKED_AT_ONCE = 4096
"""2 ms of packing."""


class Settlements:
    """Writes the SETTLED records of one queue.

    `buried_upto` is a position in the dead-letter log: the messages of all letters before it are
    settled, durably.
    """

    __slots__ = (
        "_committer",
        "_dead_end",
        "_incarnation",
        "_pending",
        "_positions",
        "_settled",
        "buried_upto",
    )

    def __init__(
        self, pending: Pending, committer: Committer, dead_end: Callable[[], int] = lambda: 0
    ) -> None:
        """`dead_end` says where the dead-letter log ends: what lies before it was added here."""
        self.buried_upto = 0
        self._dead_end = dead_end
        self._settled: dict[int, array[int]] = {}  # since the last batch: id positions
        self._incarnation = -1
        self._positions = array("Q")  # those of `_incarnation`
        self._pending = pending
        self._committer = committer

    @property
    def waiting(self) -> int:
        """How many messages were settled since the last batch."""
        return sum(map(len, self._settled.values()))

    def add(self, incarnation: int, id_position: int) -> None:
        """This message is done; it is written down with the next batch."""
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._positions = self._settled.setdefault(incarnation, array("Q"))
        self._positions.append(id_position)

    def collect(self) -> None:
        """Put what was settled since the last batch into the next one."""
        if not self._settled:
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
        if not self._settled:
            self.buried_upto = self._dead_end()

    def _take(self) -> list[bytes]:
        """The records of all that was settled since the last batch."""
        settled, self._settled, self._incarnation = self._settled, {}, -1
        return [
            encode_settled(incarnation, positions[start : start + _MOST_AT_ONCE])
            for incarnation, positions in settled.items()
            for start in range(0, len(positions), _MOST_AT_ONCE)
        ]

    def _collect_packed(self) -> None:
        """Take as little as possible of the space that is kept back, and of the loop's time."""
        incarnation, positions = next(iter(self._settled.items()))
        payload = encode_settled_packed(incarnation, positions[:_PACKED_AT_ONCE])
        del positions[:_PACKED_AT_ONCE]
        if not positions:
            del self._settled[incarnation]
            self._incarnation = -1
        if not self._settled:
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
        while self._settled and self._committer.full:
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
