"""The course of something that operators asked for and that takes long: how far it is, how fast it
may go, and whether it is to end before its time.

Whoever does the work is given one, asks it before each portion and tells it what came of that;
whoever looks at it, changes its rate or ends it does so at any moment. Nothing is cut in the middle
of a portion, so that what is counted is what was done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from dispatcher.core.rate import Rate
from dispatcher.queue.admin.pace import Pace

T = TypeVar("T")

_CAUGHT_UP_SECONDS: Final = 0.01
"""How much of a delay is made up for: the rest before each portion. What takes longer, as looking
through everything does, must not end in a burst."""
_ROUNDING_S: Final = 1e-6
"""Instants are sums of many fractions: what is as little ahead as that is now."""


class Course:
    """How far one thing is.

    `done` were done, `missed` could not be or were gone; `total` is how many there are together,
    None: nobody knows. `is_cancelled` says that it is to end, `was_cut` that it has ended for that
    before everything was done.
    """

    def __init__(self, rate: Rate | None = None) -> None:
        """`rate` is how many are done at most; None: as many as can be."""
        self.done = 0
        self.missed = 0
        self.total: int | None = None
        self.is_cancelled = False
        self.was_cut = False
        self._rate = rate
        self._due_s = 0.0  # when the next may be done, by the loop's clock
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Course {self.done} of {self.total} at {self._rate}>"

    @property
    def rate(self) -> Rate | None:
        """How many are done at most; None: as many as can be."""
        return self._rate

    def change_rate(self, rate: Rate | None) -> None:
        """Go on at another rate, at once: what is owed at the old one is owed at the new one."""
        now_s = asyncio.get_running_loop().time()
        owed = max(0.0, self._due_s - now_s) * _per_second(self._rate)
        self._rate = rate
        self._due_s = now_s if rate is None else now_s + owed / _per_second(rate)
        self._changed.set()

    def cancel(self) -> None:
        """Let it end with the portion that is under way. Idempotent."""
        self.is_cancelled = True
        self._changed.set()

    def cut(self) -> None:
        """It ends here, and not everything is done."""
        self.was_cut = True

    def finish(self) -> None:
        """It was to end, but everything is done."""
        self.was_cut = False

    def ends(self) -> bool:
        """Whether it is to end before its time; then it has, see `was_cut`."""
        self.was_cut = self.was_cut or self.is_cancelled
        return self.was_cut

    async def turn(self) -> bool:
        """Return when one more portion may be done: True. False: it is to end."""
        loop = asyncio.get_running_loop()
        while not self.is_cancelled and (wait_s := self._due_s - loop.time()) > _ROUNDING_S:
            await self._sleep(wait_s)
        if self.ends():
            return False
        self._due_s = max(self._due_s, loop.time() - _CAUGHT_UP_SECONDS)
        return True

    async def rest(self, seconds: float) -> bool:
        """Wait so long, for something that is none of this course's; False: it is to end."""
        until_s = asyncio.get_running_loop().time() + seconds
        while not self.is_cancelled:
            wait_s = until_s - asyncio.get_running_loop().time()
            if wait_s <= _ROUNDING_S:
                return True
            await self._sleep(wait_s)
        return False

    def did(self, done: int, *, missed: int = 0) -> None:
        """Count what came of a portion."""
        self.done += done
        self.missed += missed
        if self._rate is not None:
            self._due_s += done / _per_second(self._rate)

    def portion(self, most: int) -> int:
        """How many to do next, 1 to `most`: a tenth of a second's at most."""
        if self._rate is None:
            return most
        return max(1, min(most, self._rate.of_a_second // 10))

    async def portions(
        self, items: Sequence[T], *, most: int, pace: Pace
    ) -> AsyncIterator[Sequence[T]]:
        """Give the items in their order, `most` at once at most, each portion when its turn has
        come; none any more once it is cancelled. After each, `did` has to be told."""
        self.total = self.done + self.missed + len(items)  # what other partitions did counts too
        start = 0
        while start < len(items):
            if start:
                await pace.rest()
            if not await self.turn():
                return
            some = items[start : start + self.portion(most)]
            yield some
            start += len(some)

    async def _sleep(self, seconds: float) -> None:
        """Wait so long, or until something has changed."""
        self._changed.clear()
        # Not `wait_for`: that of Python 3.11 swallows a cancellation that comes with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()


def _per_second(rate: Rate | None) -> float:
    """0 where there is no rate: then nothing is owed."""
    return 0.0 if rate is None else rate.count * 1_000_000 / rate.period_us
