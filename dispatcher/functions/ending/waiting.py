"""Who waits, from outside, for the result of a call: `Wait`, and `/result?wait=30s`.

The waiting itself costs nothing but memory, and there is a bound for how many do. Who waits looks
first whether there is a result already, and awaits nothing in between: everything runs on one loop.
"""

from __future__ import annotations

import asyncio
from typing import Final

from dispatcher.errors import Refusal, Refused

MOST_WAITING: Final = 10_000
TOO_MANY_WAIT: Final = Refusal(
    503,
    "too_many_wait",
    "As many callers wait for results as can. Ask again later, or without waiting.",
    retry_after_s=1,
)


class Waiting:
    """Waits for results, by the key of their call; at most `most` at a time."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._count = 0
        self._waiters: dict[int, set[asyncio.Future[bool]]] = {}
        self._is_closed = False

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    async def wait(self, key: int, timeout_s: float) -> bool:
        """Wait until `wake` is called for this key; False when that was not within `timeout_s`
        seconds, or the server stops. True says that there may be a result: look again.

        Raises:
            Refused: too many wait.
        """
        if self._is_closed or timeout_s <= 0:
            return False
        if self._count >= self._most:
            raise Refused(TOO_MANY_WAIT)
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()
        self._waiters.setdefault(key, set()).add(woken)
        self._count += 1
        timer = loop.call_later(timeout_s, _answer, woken, False)
        try:
            return await woken
        finally:
            timer.cancel()
            self._leave(key, woken)

    def _leave(self, key: int, woken: asyncio.Future[bool]) -> None:
        self._count -= 1
        waiters = self._waiters.get(key)
        if waiters is not None:
            waiters.discard(woken)
            if not waiters:
                del self._waiters[key]

    def wake(self, key: int) -> None:
        """There is a result, or there will never be one: everybody who waits for it looks again.
        Costs next to nothing when nobody does."""
        if self._waiters:
            for woken in self._waiters.get(key, ()):
                _answer(woken, True)

    def close(self) -> None:
        """Nobody is to wait any more. Idempotent."""
        self._is_closed = True
        for waiters in self._waiters.values():
            for woken in waiters:
                _answer(woken, False)


def _answer(woken: asyncio.Future[bool], found: bool) -> None:
    if not woken.done():
        woken.set_result(found)
