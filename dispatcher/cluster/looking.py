"""When the store is looked at: every so often, and at once where something is known to be new.

A look says what is so; a hint, a record as it is being stored, only that a look is worth it. It may
come before the record is there, so for a moment looks follow one another until it is.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dispatcher.cluster.observer import Observer
from dispatcher.cluster.store import Entry, LeaseStore
from dispatcher.cluster.times import Times
from dispatcher.core.clock import Random
from dispatcher.errors import LogBusy

PATIENCE_S: Final = 2.0
"""Twice what a store may take (`store.LeaseStore`): one that keeps its promise answers before."""
_STORES_NOTHING: Final = (
    "its servers store nothing now; look whether most of them run, reach each other and have space"
)


class Looking:
    """Looks at the store, one look at a time. `found` is told what each look has found, and answers
    False where it has to be followed by another one at once (`is_wanted`)."""

    def __init__(
        self,
        store: LeaseStore,
        observer: Observer,
        times: Times,
        random: Random,
        *,
        keys: Callable[[], Sequence[str]],
        found: Callable[[Mapping[str, Entry]], bool],
        stored_s: Callable[[], float],
    ) -> None:
        """`keys` are what is looked at. `stored_s` is when this member sent what was stored last;
        infinite while it has nothing to store."""
        self._store = store
        self._observer = observer
        self._times = times
        self._random = random
        self._keys = keys
        self._found = found
        self._stored_s = stored_s
        self._next_s = -math.inf
        self._is_under_way = self.is_wanted = False
        self._awaited: dict[str, float] = {}
        self._away_s: float | None = None

    def soon(self) -> None:
        """Begin one more look at the next turn, after what is so now."""
        self.is_wanted = True

    def expect(self, key: str, now_s: float) -> None:
        """Look until a later record of this key is there, for a moment."""
        self._awaited[key] = now_s + self._times.hint_s
        self.soon()

    def came(self, key: str) -> None:
        """A later record of this key is there."""
        self._awaited.pop(key, None)

    def is_due(self, now_s: float) -> bool:
        """Whether a look is to begin now; then `look` is called."""
        if self._is_under_way:
            return False
        return self.is_wanted or now_s >= self._next_s

    async def look(self) -> bool:
        """Look, and tell; False: nobody answered."""
        self._is_under_way, self.is_wanted = True, False
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await self._store.look(self._keys())
        except (LogBusy, TimeoutError) as error:
            self._failed(error, loop.time())
            return False
        finally:
            self._is_under_way = False
            self._next_s = loop.time() + self._pause_s(loop.time())
        self._answered(loop.time())
        if not self._found(found):
            self.soon()
        return True

    def _pause_s(self, now_s: float) -> float:
        self._awaited = {key: until for key, until in self._awaited.items() if until > now_s}
        if self._awaited:
            return self._times.eager_s
        return self._times.poll_s * self._random.uniform(0.8, 1.2)

    def _failed(self, error: Exception, now_s: float) -> None:
        if self._away_s is None:
            self._away_s = now_s
            self._observer.store_away(error)

    def _answered(self, now_s: float) -> None:
        """A store without a majority can be looked at, but stores nothing: it is away as long."""
        stored_s = self._stored_s()
        if now_s - stored_s > self._times.act_s:
            self._failed(LogBusy(_STORES_NOTHING), now_s)
        elif self._away_s is not None and stored_s > self._away_s:
            self._observer.store_back(now_s - self._away_s)
            self._away_s = None
