"""Who may look a name up now.

A dead name server holds a thread for half a minute, and must not hold those that other names need.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import IntEnum
from typing import Final

LOOKUPS: Final = 256
"""Threads that look up at once, where there are descriptors for them."""


class Rank(IntEnum):
    """What is known of a name; the lower ones go first."""

    KNOWN = 0
    NEW = 1
    FAILING = 2


class Slots:
    """The slots for lookups: three quarters at most go to names that were not found before, and an
    eighth to those that fail."""

    def __init__(self, most: int = LOOKUPS) -> None:
        """`most`: how many names may be looked up at once, 1 or more."""
        # Of each rank together with those after it.
        self._most = (most, max(1, most * 3 // 4), max(1, most // 8))
        self._taken = [0, 0, 0]
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque(), deque())

    async def take(self, rank: Rank) -> None:
        """Wait for a slot. One that was cancelled meanwhile has none."""
        if not self._waiting[rank] and self._is_free(rank):
            self._taken[rank] += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[rank].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled() or not turn.done():
                if turn in self._waiting[rank]:
                    self._waiting[rank].remove(turn)
            else:
                self.give_back(rank)
            raise

    def give_back(self, rank: Rank) -> None:
        """Hand a slot to whoever waits for it."""
        self._taken[rank] -= 1
        for waiting in Rank:
            turns = self._waiting[waiting]
            while turns and self._is_free(waiting):
                turn = turns.popleft()
                if not turn.done():
                    self._taken[waiting] += 1
                    turn.set_result(None)

    def _is_free(self, rank: Rank) -> bool:
        """A name counts against the bound of its own rank and of all before it."""
        return all(sum(self._taken[first:]) < self._most[first] for first in range(rank + 1))
