"""What operators do to many waiting messages: cancel them, give them up, redirect them, or let them
be due now.

Messages are found first (`admin.finding`) and then changed in portions, each at once, at the rate
of the course: what was found is so until something is awaited. Those in flight are left alone and
counted. What was done is counted also where the rest is refused.

Whoever waits for a time is chained by it, one way: so of those that are due now their buckets are
gone through when all of a request are known. Where a rate spreads them over time that is done in
between, for a tenth of the time at most.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final, Protocol

from dispatcher.core.destination import Destination
from dispatcher.queue.admin.course import Course
from dispatcher.queue.admin.finding import Finding
from dispatcher.queue.admin.message_filter import MessageFilter, shown
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import MessageState, Touched, TriedNow
from dispatcher.queue.admin.waiting import SLICE, Waiting
from dispatcher.queue.pending.index import NO_SLOT
from dispatcher.queue.records.ids import wire_id

Which = MessageFilter | Sequence[str]

_AT_ONCE: Final = 200
"""Messages that are changed before others get their turn: a millisecond."""
_WAITING: Final = (MessageState.READY, MessageState.SCHEDULED)
_PULLED_AT_ONCE: Final = 1000
"""Steps in a bucket of timers before others get their turn; most of what is passed is put in its
lane."""
_PULL_REST: Final = 9
"""So many times as long as the buckets took they are left alone, while a rate holds a retry up."""


class Move(Protocol):
    """Does something to messages. `told` is told which it was done to, also before it raises."""

    def __call__(
        self, ids: Sequence[bytes], /, *, told: Callable[[Sequence[bytes]], object]
    ) -> Awaitable[object]: ...


class Acting:
    """Changes waiting messages of one partition as operators wish."""

    def __init__(self, parts: Parts, waiting: Waiting, finding: Finding, pace: Pace) -> None:
        self._parts = parts
        self._waiting = waiting
        self._finding = finding
        self._pace = pace
        self._pulling = asyncio.Lock()

    async def count(self, which: Which, course: Course) -> Touched:
        """See `Admin.count_waiting`."""
        found: Counter[MessageState] = Counter()
        not_found: list[str] = []
        async for slots in self._looked_at(which, not_found, course):
            found.update(map(self._state, slots))
            course.did(len(slots))
        return _touched(found, not_found)

    async def cancel(self, which: Which, course: Course) -> Touched:
        """See `Admin.cancel_waiting`."""
        found: Counter[MessageState] = Counter()
        not_found: list[str] = []
        async for slots in self._portions(which, not_found, course):
            kinds = {slot: self._state(slot) for slot in slots}
            left = [slot for slot in slots if kinds[slot] is not MessageState.IN_FLIGHT]
            if left:
                await self._cancel(left, course)
            found.update(kinds.values())
            course.did(0, missed=len(slots) - len(left))
        return _touched(found, not_found)

    async def _cancel(self, slots: list[int], course: Course) -> None:
        pending = self._parts.pending
        ids = [self._id(slot) for slot in slots] if pending.awaited else []
        durable = self._parts.changing.cancel(slots)
        for message_id in ids:
            pending.let_go(message_id)
        try:
            await durable
        finally:  # they are gone, whatever comes of that
            course.did(len(slots))

    async def give_up(self, which: Which, course: Course) -> Touched:
        """See `Admin.give_up_waiting`."""
        return await self._move_all(which, self._parts.giving_up.give_up, course)

    async def redirect(self, which: Which, to: Destination, course: Course) -> Touched:
        """See `Admin.redirect_waiting`. They are moved in the order in which they were accepted:
        those of an order key line up at the new destination as they come."""
        return await self._move_all(which, partial(self._parts.redirecting.redirect, to=to), course)

    async def _move_all(self, which: Which, move: Move, course: Course) -> Touched:
        found: Counter[MessageState] = Counter()
        not_found: list[str] = []
        async for slots in self._portions(which, not_found, course):
            kinds = {self._id(slot): self._state(slot) for slot in slots}
            await self._move(kinds, move, found, course)
        return _touched(found, not_found)

    async def _move(
        self,
        kinds: Mapping[bytes, MessageState],
        move: Move,
        found: Counter[MessageState],
        course: Course,
    ) -> None:
        """Move messages that wait. One whose turn came before that is in flight."""
        waiting = [one for one, kind in kinds.items() if kind in _WAITING]
        done: list[bytes] = []
        try:
            await move(waiting, told=done.extend)
        finally:
            found.update(kinds[one] for one in done)
            course.did(len(done))
        found[MessageState.IN_FLIGHT] += len(kinds) - len(done)
        course.did(0, missed=len(kinds) - len(done))

    async def retry(self, which: Which, course: Course) -> Touched:
        """See `Admin.retry_waiting`."""
        found: Counter[MessageState] = Counter()
        not_found: list[str] = []
        buckets: dict[int, None] = {}
        now = asyncio.get_running_loop().time
        next_pull_s = now()
        try:
            async for slots in self._portions(which, not_found, course):
                # What is likely too old is neither sent nor given up yet, whoever asks.
                kinds = {slot: self._state(slot) for slot in slots if not self._is_doubtful(slot)}
                scheduled = [slot for slot in kinds if kinds[slot] is MessageState.SCHEDULED]
                for slot in scheduled:
                    buckets.update(dict.fromkeys(self._parts.changing.hasten(slot)))
                found.update(kinds.values())
                course.did(len(scheduled), missed=len(slots) - len(scheduled))
                if course.rate is not None and now() >= next_pull_s:
                    began_s = now()
                    await self._pull(buckets)
                    next_pull_s = now() + _PULL_REST * (now() - began_s)
        finally:  # nobody finds the bucket of a message again once it is due now
            await self._pull(buckets)
        return _touched(found, not_found)

    async def try_now(self, destination: Destination, course: Course) -> TriedNow:
        """See `Admin.retry_destination`."""
        lane = self._parts.lanes.find(destination.key)
        waiting = 0 if lane is None else lane.ready + lane.behind + lane.scheduled
        was_open = self._parts.changing.try_now(destination)
        which = MessageFilter(destination=str(destination), state=MessageState.SCHEDULED)
        found = await self.retry(which, course)
        if was_open and not found.scheduled:
            course.did(1)  # the probe
        return TriedNow(
            destination=str(destination),
            retried=found.scheduled,
            waiting=waiting,
            held=lane is not None and lane.peer.held,
            was_open=was_open,
        )

    async def _pull(self, buckets: dict[int, None]) -> None:
        """Take what is due by now out of these buckets, and forget them."""
        left = _PULLED_AT_ONCE
        async with self._pulling:
            while buckets:
                bucket = next(iter(buckets))
                after, left = self._parts.changing.pull(bucket, NO_SLOT, left)
                while not left:
                    await self._pace.rest()
                    after, left = self._parts.changing.pull(bucket, after, _PULLED_AT_ONCE)
                del buckets[bucket]

    async def _looked_at(
        self, which: Which, not_found: list[str], course: Course
    ) -> AsyncIterator[list[int]]:
        """Slots of messages that are meant, to be counted; none any more once the course is
        cancelled."""
        if isinstance(which, MessageFilter):
            async for run in self._waiting.runs(which, stored_before=self._waiting.end):
                yield run.slots
                if course.ends():
                    return
            return
        ids = list(dict.fromkeys(which))
        async for some in course.portions(ids, most=SLICE, pace=self._pace):
            slots = self._finding.slots(some, not_found)
            course.did(0, missed=len(some) - len(slots))
            yield slots

    async def _portions(
        self, which: Which, not_found: list[str], course: Course
    ) -> AsyncIterator[list[int]]:
        """Slots of messages that are meant, the oldest first and a few at a time, each portion when
        its turn has come, and good until the reader awaits something; none any more once the course
        is cancelled. Ids that are of none are added to `not_found`.
        """
        all_found = await self._finding.all(which, not_found, course)
        course.did(0, missed=len(not_found))
        course.total = course.done + course.missed + len(all_found)
        wanted = which if isinstance(which, MessageFilter) else MessageFilter()
        oldest_first = all_found.oldest_first()
        while some := list(islice(oldest_first, course.portion(_AT_ONCE))):
            await self._pace.rest()
            if not await course.turn():
                return
            slots = self._finding.still(some, wanted)
            course.did(0, missed=len(some) - len(slots))
            if not isinstance(which, MessageFilter):
                not_found += [self._finding.id_of(one) for one in some if one not in slots]
            if slots:
                yield list(slots.values())

    def _is_doubtful(self, slot: int) -> bool:
        ages = self._parts.pending.ages
        return ages is not None and ages.is_doubtful(slot, self._parts.clock.now_us())

    def _state(self, slot: int) -> MessageState:
        return shown(self._parts.pending, slot)

    def _id(self, slot: int) -> bytes:
        index = self._parts.pending.index
        return wire_id(self._parts.partition, index.incarnation_of(slot), index.id_position[slot])


def _touched(found: Counter[MessageState], not_found: list[str]) -> Touched:
    return Touched(
        ready=found[MessageState.READY],
        scheduled=found[MessageState.SCHEDULED],
        in_flight=found[MessageState.IN_FLIGHT],
        not_found=not_found,
    )
