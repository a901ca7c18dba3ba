"""Dead calls made alive again: redriven from their input, under their old ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dispatcher.functions.events import Created, NewCall
from dispatcher.functions.ids import parse_id
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import Phase
from dispatcher.functions.ports import Store
from dispatcher.functions.results.store import Results
from dispatcher.queue.records.dead_calls import CallLetter

_AGAIN_SECONDS: Final = 0.02


class Reviving:
    """Implements `queue.deadletters.reviving.Reviver`."""

    def __init__(
        self,
        machine: Machine,
        store: Store,
        results: Results,
        *,
        now_us: Callable[[], int],
        new_id: Callable[[], str],
        is_run_again: Callable[[int], None],
    ) -> None:
        """`is_run_again` is told the key of a call before it is made: the process of the
        application that it ended in may still be there."""
        self._machine = machine
        self._store = store
        self._results = results
        self._now_us = now_us
        self._new_id = new_id
        self._is_run_again = is_run_again

    def new_id(self) -> bytes:
        """See `Reviver`."""
        return self._new_id().encode("ascii")

    async def revive(self, letter: CallLetter) -> None:
        """See `Reviver`. Its result, an error, is forgotten: it is to come."""
        key = parse_id(letter.id.decode("ascii"))
        assert key is not None, "a letter of a call has the id of one"
        while (old := self._machine.calls.get(key)) is not None:
            if old.phase is not Phase.ENDED:
                return
            await asyncio.sleep(_AGAIN_SECONDS)  # what it came to is on its way: see `ending`
        now_us = self._now_us()
        call = NewCall(
            key=key,
            correlation=letter.correlation,
            endpoint=letter.endpoint,
            function=letter.function,
            version=letter.version,
            created_us=now_us,
            expires_us=now_us + letter.expiration_us,
            input=letter.body,
            timeout_ms=letter.timeout_ms,
        )
        self._is_run_again(key)
        await self._store.stored(Created(letter.application, (call,)))
        self._results.forget(key)
