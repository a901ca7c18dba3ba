"""What operators do: each in a task of its own, so that one who hangs up does not leave it half
done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from dispatcher.core.destination import Destination
from dispatcher.queue.admin.course import Course
from dispatcher.queue.admin.listing import Listing
from dispatcher.queue.admin.looking import Looking
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import Cancelled, LetterEdit, LetterFilter, Moved
from dispatcher.queue.deadletters.redrive import MOST_AT_ONCE

T = TypeVar("T")

_MOST_FAILED: Final = 10_000
"""Letters that are named as damaged, or as calls that nobody serves, at most."""
_PURGED_AT_ONCE = 200
"""Letters that are removed before others get their turn: a millisecond."""


class Operating:
    """Changes one partition as operators wish."""

    def __init__(self, parts: Parts, looking: Looking, listing: Listing, pace: Pace) -> None:
        self._queue = parts
        self._looking = looking
        self._listing = listing
        self._pace = pace
        self._tasks: set[asyncio.Task[Any]] = set()

    async def cancel(self, message_id: str) -> Cancelled:
        """See `Admin.cancel`."""
        key = message_id.encode("ascii")
        too_late = self._looking.too_late(key)
        if too_late is not None:
            return too_late
        # Now, not when a task begins.
        durable = self._queue.changing.cancel([self._looking.slot(key)])
        self._queue.pending.let_go(key)
        await self.run(durable)
        return Cancelled.DONE

    async def give_up(self, message_id: str) -> Cancelled:
        """See `Admin.give_up`."""
        return await self._change(message_id, self._queue.giving_up.give_up)

    async def redirect(self, message_id: str, to: str) -> Cancelled:
        """See `Admin.redirect`."""
        redirect = partial(self._queue.redirecting.redirect, to=Destination.parse(to))
        return await self._change(message_id, redirect)

    async def _change(
        self, message_id: str, change: Callable[[Sequence[bytes]], Coroutine[Any, Any, list[bytes]]]
    ) -> Cancelled:
        """Change a message that waits, unless it is too late for that, or its turn comes first."""
        key = message_id.encode("ascii")
        while (too_late := self._looking.too_late(key)) is None:
            if await self.run(change([key])):
                return Cancelled.DONE
        return too_late

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """See `Admin.redrive`."""
        return await self.run(self._redrive(which, course or Course()))

    async def redrive_edited(self, message_id: str, edit: LetterEdit) -> Moved:
        """See `Admin.redrive_edited`."""
        key = message_id.encode("ascii")
        redriving = await self.run(self._queue.redriver.redrive([key], edit=edit))
        not_found = _without([key], [*redriving.done, *redriving.damaged])
        return Moved(len(redriving.done), not_found, _named(redriving.damaged))

    async def purge(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """See `Admin.purge`."""
        return await self.run(self._purge(which, course or Course()))

    async def _redrive(self, which: LetterFilter | Sequence[str], course: Course) -> Moved:
        count = 0
        not_found: list[str] = []
        failed: list[str] = []
        unserved: list[str] = []
        keys = await self._keys(which)
        async for ids in course.portions(keys, most=MOST_AT_ONCE, pace=self._pace):
            done, damaged, left = await self._queue.redriver.redrive(ids)
            course.did(len(done), missed=len(ids) - len(done))
            count += len(done)
            failed += _named(damaged[: _MOST_FAILED - len(failed)])
            unserved += _named(left[: _MOST_FAILED - len(unserved)])
            if not isinstance(which, LetterFilter):
                not_found += _without(ids, [*done, *damaged, *left])
        return Moved(count, not_found, tuple(failed), tuple(unserved))

    async def _purge(self, which: LetterFilter | Sequence[str], course: Course) -> Moved:
        count = 0
        not_found: list[str] = []
        keys = await self._keys(which)
        async for ids in course.portions(keys, most=_PURGED_AT_ONCE, pace=self._pace):
            done = await self._queue.redriver.purge(ids)
            course.did(len(done), missed=len(ids) - len(done))
            count += len(done)
            if not isinstance(which, LetterFilter):
                not_found += _without(ids, done)
        return Moved(count, not_found)

    async def _keys(self, which: LetterFilter | Sequence[str]) -> list[bytes]:
        """Ids, each once; of a filter, those that are dead now."""
        if isinstance(which, LetterFilter):
            return await self._listing.ids(which)
        return [one.encode("ascii") for one in dict.fromkeys(which)]

    async def hold(self, destination: str) -> str:
        """See `Admin.hold`."""
        return await self._hold(Destination.parse(destination), held=True)

    async def resume(self, destination: str) -> str:
        """See `Admin.resume`."""
        return await self._hold(Destination.parse(destination), held=False)

    async def _hold(self, destination: Destination, *, held: bool) -> str:
        await self.run(self._queue.changing.hold(destination, held=held))
        return str(destination)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in a task of its own, and return what comes of it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """End what is under way; what it did so far is durable. Idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _without(ids: Sequence[bytes], done: Sequence[bytes]) -> list[str]:
    known = set(done)
    return _named([one for one in ids if one not in known])


def _named(ids: Sequence[bytes]) -> list[str]:
    return [one.decode("ascii") for one in ids]
