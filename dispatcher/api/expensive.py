"""Calls that take the event loop more than a moment: few at once, and not again for everybody.

Reading figures of everything there is, for somebody who asks over and over, must not slow down
those who send messages. So there are three bounds. Such a call waits for its turn when more come
than `PER_SECOND`, and is refused when it would wait too long. `AT_ONCE` answers are made at once.
And an answer that took the loop long is given again to others who ask within the next moment, at
most `FRESH_SECONDS` old; a change by an operator ends that, so that nobody is shown what was before
it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from dispatcher.api.errors import ApiError
from dispatcher.api.turns import Turns
from dispatcher.queue.admin.meter import Metered

PER_SECOND: Final = 10
BURST: Final = 50
AT_ONCE: Final = 2
PATIENCE_SECONDS: Final = 2.0
FRESH_SECONDS: Final = 1.0
_CHEAP_SECONDS: Final = 0.05
"""What takes less of the loop's time is always made anew, so that a change is seen by whoever asks
right after it."""
_FRESH_TIMES: Final = 20
"""An answer is given again for so many times as long as the loop worked on it: making answers takes
a twentieth of its time at most."""
_MOST_KEPT: Final = 16

Pieces: TypeAlias = Sequence[bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Made:
    pieces: Pieces
    until: float


class Expensive:
    """The expensive calls of one server."""

    def __init__(
        self, now: Callable[[], float], *, worked: Callable[[], float] = time.thread_time
    ) -> None:
        """`now` is a monotonic clock, in seconds; `worked` says how long this thread has worked: on
        a machine that is busy with something else an answer may take long and be cheap."""
        self._now = now
        self._worked = worked
        self._turns = Turns(PER_SECOND, BURST)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._made: dict[Hashable, _Made] = {}
        self._making: dict[Hashable, asyncio.Task[Pieces]] = {}
        self._tasks: set[asyncio.Task[Pieces]] = set()

    async def shared(
        self, key: Hashable, make: Callable[[], Coroutine[Any, Any, Pieces]]
    ) -> Pieces:
        """The answer that `key` names: one that is fresh, one that is being made, or a new one.

        Raises:
            ApiError: 503; too many ask.
        """
        await self._wait()
        made = self._made.get(key)
        if made is not None and self._now() < made.until:
            return made.pieces
        making = self._making.get(key)
        if making is None:
            making = asyncio.get_running_loop().create_task(self._make(key, make))
            self._making[key] = making
            self._tasks.add(making)
            making.add_done_callback(self._tasks.discard)
        return await asyncio.shield(making)  # for all who wait, also when one of them hangs up

    async def alone(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do what is for one caller.

        Raises:
            ApiError: 503; too many ask.
        """
        await self._wait()
        return await self._in_place(Metered(work, self._worked))

    def forget(self) -> None:
        """Something was changed: answers made before it are given to nobody from now on."""
        self._made.clear()
        self._making.clear()

    async def stop(self) -> None:
        """Make no more. Idempotent."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _make(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, Pieces]]) -> Pieces:
        task = asyncio.current_task()
        metered = Metered(make, self._worked)
        try:
            pieces = await self._in_place(metered)
        finally:
            is_wanted = self._making.get(key) is task  # nothing was changed meanwhile
            if is_wanted:
                del self._making[key]
        if is_wanted:
            now, took = self._now(), metered.worked_s
            until = now + (min(FRESH_SECONDS, _FRESH_TIMES * took) if took > _CHEAP_SECONDS else 0)
            self._made = {one: made for one, made in self._made.items() if now < made.until}
            if len(self._made) >= _MOST_KEPT:
                del self._made[next(iter(self._made))]
            self._made[key] = _Made(pieces, until)
        return pieces

    async def _wait(self) -> None:
        wait_s = self._turns.wait(self._now(), PATIENCE_SECONDS)
        # Who is refused waits as well: it would ask again at once.
        await asyncio.sleep(PATIENCE_SECONDS if wait_s is None else wait_s)
        if wait_s is None:
            raise _busy()

    async def _in_place(self, work: Metered[T]) -> T:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise _busy() from None
        try:
            return await work
        finally:
            self._places.release()


def _busy() -> ApiError:
    return ApiError(
        503,
        "api_busy",
        "Too many calls that take long came at once; ask again later, and not so often.",
        headers={"Retry-After": "1"},
    )
