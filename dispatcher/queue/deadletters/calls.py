"""Dead letters of function calls: how they come, and how they go back.

A call that is given up is buried by the function service, which forgets it once the letter is
durable; after a crash in between it buries it again, and is told at once that the letter is there.

Redriven, a call begins to exist again under its id (`reviving`) before its letter is removed: a
crash in between leaves both, and `recovery.reconcile` drops the letter. It may run, and be given up
again, before the record that removes its letter is durable. That record would take the new letter
too, so the new one waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from dispatcher.queue.deadletters.burial import Burying
from dispatcher.queue.deadletters.holdings import Holdings
from dispatcher.queue.records.dead_calls import CallLetter

Read = Callable[[], Awaitable[bytes]]


class BuryingCalls:
    """Stores the letters of calls. `told` is called for each that is new, once it is durable."""

    def __init__(
        self, holdings: Holdings, burying: Burying, told: Callable[[CallLetter], None]
    ) -> None:
        self._holdings = holdings
        self._burying = burying
        self._told = told
        self._leaving: dict[bytes, list[Callable[[], None]]] = {}

    def bury(self, letter: CallLetter, then: Callable[[], None], read: Read | None = None) -> None:
        """See `DeadLetters.bury_call`."""
        later = self._leaving.get(letter.id)
        if later is not None:
            later.append(partial(self.bury, letter, then, read))
            return
        letters = self._holdings.letters
        row = letters.find(letter.id)
        if row >= 0 and letters.redrives(row) >= letter.redrives:
            asyncio.get_running_loop().call_soon(then)
            return
        self._burying.bury_call(
            letter, read or _Given(letter.body), partial(self._buried, letter, then)
        )

    def _buried(self, letter: CallLetter, then: Callable[[], None]) -> None:
        self._told(letter)
        then()

    def leaves(self, call_id: bytes) -> None:
        """A call is about to exist again. Its letter leaves, or stays where that fails."""
        self._leaving[call_id] = []

    def left(self, call_id: bytes) -> None:
        """The record that removes its letter is durable, or it stays."""
        for bury in self._leaving.pop(call_id):
            bury()


class _Given:
    """An input that is there already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __call__(self) -> bytes:
        return self._data
