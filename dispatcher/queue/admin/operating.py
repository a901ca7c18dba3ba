"""What operators do: each in a task of its own, so that one who hangs up does not leave it half
done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Final, TypeVar

from dispatcher.core.destination import Destination
from dispatcher.queue.admin.listing import Listing
from dispatcher.queue.admin.looking import Looking
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import Cancelled, LetterFilter, Moved
from dispatcher.queue.deadletters.redrive import MOST_AT_ONCE

T = TypeVar("T")

_MOST_FAILED: Final = 10_000
"""Letters that are named as damaged, or as calls that nobody serves, at most."""
_CAUGHT_UP_SECONDS: Final = 0.01
"""How much of a delay a redrive with a rate makes up for: the rest before each portion. What takes
longer, as looking through the letters does, must not end in a burst."""
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
        durable = self._queue.changing.cancel(self._looking.slot(key))
        await self._run(durable)
        return Cancelled.DONE

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, rate: int | None = None
    ) -> Moved:
        """See `Admin.redrive`."""
        return await self._run(self._redrive(which, rate))

    async def purge(self, which: LetterFilter | Sequence[str]) -> Moved:
        """See `Admin.purge`."""
        return await self._run(self._purge(which))

    async def _redrive(self, which: LetterFilter | Sequence[str], rate: int | None) -> Moved:
        loop = asyncio.get_running_loop()
        due = 0.0
        count = 0
        not_found: list[str] = []
        failed: list[str] = []
        unserved: list[str] = []
        most = MOST_AT_ONCE if rate is None else max(1, min(MOST_AT_ONCE, rate // 10))
        async for ids in self._portions(which, most):
            due = max(due, loop.time() - _CAUGHT_UP_SECONDS)
            done, damaged, left = await self._queue.redriver.redrive(ids)
            count += len(done)
            failed += _named(damaged[: _MOST_FAILED - len(failed)])
            unserved += _named(left[: _MOST_FAILED - len(unserved)])
            if not isinstance(which, LetterFilter):
                not_found += _without(ids, [*done, *damaged, *left])
            if rate is not None:
                due += len(done) / rate
                await asyncio.sleep(max(0.0, due - loop.time()))
        return Moved(count, not_found, tuple(failed), tuple(unserved))

    async def _purge(self, which: LetterFilter | Sequence[str]) -> Moved:
        count = 0
        not_found: list[str] = []
        async for ids in self._portions(which, _PURGED_AT_ONCE):
            done = await self._queue.redriver.purge(ids)
            count += len(done)
            if not isinstance(which, LetterFilter):
                not_found += _without(ids, done)
        return Moved(count, not_found)

    async def _portions(
        self, which: LetterFilter | Sequence[str], most: int
    ) -> AsyncIterator[list[bytes]]:
        """Ids, a few at a time; of a filter, those that were dead when it began."""
        if isinstance(which, LetterFilter):
            keys = await self._listing.ids(which)
        else:
            keys = [one.encode("ascii") for one in dict.fromkeys(which)]
        for start in range(0, len(keys), most):
            if start:
                await self._pace.rest()
            yield keys[start : start + most]

    async def hold(self, destination: str) -> str:
        """See `Admin.hold`."""
        return await self._hold(Destination.parse(destination), held=True)

    async def resume(self, destination: str) -> str:
        """See `Admin.resume`."""
        return await self._hold(Destination.parse(destination), held=False)

    async def _hold(self, destination: Destination, *, held: bool) -> str:
        await self._run(self._queue.changing.hold(destination, held=held))
        return str(destination)

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
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
