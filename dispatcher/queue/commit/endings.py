"""Endings: a message is settled together with what is born of it, in one unit of the log.

So after any crash there are both or neither: what is born exists exactly once, and no message is
settled without it. Other settlements are never refused, and use the space that is kept back on a
full disk. What is born takes more than they do, so it must not use that up: on a full disk it takes
as much of it as is left by all that may still be settled, as copies do. Where that is too little,
the ending waits in memory until there is space, and no more attempts are started that come to one.
Until then its message is not settled, and a crash attempts it again. It could not be otherwise:
without what is born the message must not end, and without an end it stays where it is. A disk that
is full of messages which are smaller than what is born of them stays full, until an operator makes
space, or cancels some that wait for their turn.

While a unit is with the log, no copy of its message may be submitted: it would lie behind the
record that settles it, and bring it back. `State.SETTLING` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dispatcher.errors import Refusal, Refused
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.settlements import in_time
from dispatcher.queue.commit.space import LOOK_SECONDS
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import DISK_FULL, LOG_BUSY


class Endings:
    """Stores such units. `room_bytes` says how much of the space that is kept back they may take
    while the disk is full; `changed` is called when one has to wait."""

    __slots__ = (
        "_by_id",
        "_changed",
        "_committer",
        "_pending",
        "_room_bytes",
        "_urgent_bytes",
        "_waiting",
    )

    def __init__(
        self,
        pending: Pending,
        committer: Committer,
        *,
        room_bytes: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._pending = pending
        self._committer = committer
        self._room_bytes = room_bytes
        self._changed = changed
        self._by_id: dict[bytes, _Ending] = {}  # those that are not durable
        self._waiting: list[_Ending] = []  # for space
        self._urgent_bytes = 0  # of those that are with the log, or on the way there

    def __contains__(self, message_id: bytes) -> bool:
        """Whether a message ends, and that is not durable yet."""
        return message_id in self._by_id

    @property
    def are_waiting(self) -> bool:
        """Whether any waits: no attempt should be started then that comes to one more. So no more
        of them wait than attempts were under way, and what waits for its turn can be cancelled."""
        return bool(self._waiting)

    @property
    def lacks_space(self) -> bool:
        """What is not durable yet waits for space."""
        return bool(self._waiting) and self._committer.full

    def settle(
        self,
        message_id: bytes,
        slot: int,
        settled: bytes,
        born: bytes,
        *,
        then: Callable[[int], None],
    ) -> None:
        """Settle the message of a slot that is in no chain with this record, and store what is
        `born` with it. `then` is called once both are durable, with where the latter is, and has to
        remove the slot."""
        ending = _Ending(self, message_id, slot, [settled, born], then)
        self._by_id[message_id] = ending
        self._submit(ending)

    def look(self) -> None:
        """There may be space for those that wait: the log stored something, or gave a part of it
        back, or the disk has space again."""
        waiting, self._waiting = self._waiting, []
        for ending in waiting:
            self._submit(ending)

    async def durable(self, ids: Sequence[bytes]) -> None:
        """Return when none of these messages is about to end any more.

        Raises:
            Refused: that takes too long (`settlements.WAIT_SECONDS`), or the log failed.
        """
        endings = [self._by_id[one] for one in ids if one in self._by_id]
        await in_time([ending.awaited() for ending in endings], lambda: self._committer.full)

    def _submit(self, ending: _Ending) -> None:
        committer = self._committer
        ending.is_urgent = committer.full and not committer.dead
        if ending.is_urgent:
            if ending.size_bytes + self._urgent_bytes > self._room_bytes():
                self._put_by(ending)
                return
            self._urgent_bytes += ending.size_bytes
        self._pending.index.state[ending.slot] = State.SETTLING
        committer.submit_unit(ending.payloads, ending, urgent=ending.is_urgent)
        if ending.is_urgent:
            committer.wake()

    def _put_by(self, ending: _Ending) -> None:
        self._pending.index.state[ending.slot] = State.BURYING
        self._waiting.append(ending)
        self._changed()

    def stored(self, ending: _Ending, positions: Sequence[int]) -> None:
        """The message is settled, and what is born of it exists."""
        self._left(ending)
        self._pending.extents.note(positions[0], len(ending.payloads[0]) + OVERHEAD_BYTES)
        try:
            ending.then(positions[1])
        finally:
            ending.tell(None)

    def refused(self, ending: _Ending, refusal: Refusal) -> None:
        """Neither is stored. Without space, or while something else is lacking, it waits.
        Otherwise the partition ends, and the message is attempted again after the next start."""
        if refusal is DISK_FULL or refusal is LOG_BUSY:
            if ending.is_urgent:
                self._urgent_bytes -= ending.size_bytes
            self._put_by(ending)
            if refusal is LOG_BUSY:  # nobody says when that is over
                asyncio.get_running_loop().call_later(LOOK_SECONDS, self.look)
            return
        self._left(ending)
        ending.tell(refusal)

    def _left(self, ending: _Ending) -> None:
        del self._by_id[ending.id]
        if ending.is_urgent:
            self._urgent_bytes -= ending.size_bytes


class _Ending:
    """A unit on its way (`UnitWaiter`)."""

    __slots__ = (
        "_endings",
        "_wanted",
        "id",
        "is_urgent",
        "payloads",
        "size_bytes",
        "slot",
        "then",
    )

    def __init__(
        self,
        endings: Endings,
        message_id: bytes,
        slot: int,
        payloads: list[bytes],
        then: Callable[[int], None],
    ) -> None:
        self.id = message_id
        self.slot = slot
        self.payloads = payloads
        self.size_bytes = sum(map(len, payloads)) + OVERHEAD_BYTES * len(payloads)
        self.then = then
        self.is_urgent = False
        self._endings = endings
        self._wanted: list[asyncio.Future[None]] = []

    def awaited(self) -> asyncio.Future[None]:
        """Done when it is durable; raises `Refused` when it never will be."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted.append(done)
        return done

    def tell(self, refusal: Refusal | None) -> None:
        """It is durable, or why it is not."""
        for done in self._wanted:
            if done.done():
                continue
            if refusal is None:
                done.set_result(None)
            else:
                done.set_exception(Refused(refusal))
                done.exception()  # seen: who waited may have been ended

    def stored(self, positions: Sequence[int]) -> None:
        """See `UnitWaiter`."""
        self._endings.stored(self, positions)

    def refused(self, refusal: Refusal) -> None:
        """See `UnitWaiter`."""
        self._endings.refused(self, refusal)
