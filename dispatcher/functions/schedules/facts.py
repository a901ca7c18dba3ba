"""Plans and marks of schedules as facts of the store of calls, in the transaction log."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.functions.events import Fact, Noted
from dispatcher.functions.machine import Machine
from dispatcher.functions.ports import Store
from dispatcher.schedules.ports import Change


class StoredFacts:
    """Implements `schedules.ports.Facts`."""

    def __init__(self, store: Store, machine: Machine) -> None:
        self._store = store
        self._machine = machine

    def names(self, space: str) -> Sequence[str]:
        """See `Facts`."""
        return [name for one, name in self._machine.facts if one == space]

    async def read(self, space: str, name: str) -> bytes | None:
        """See `Facts`."""
        if (space, name) not in self._machine.facts:
            return None
        found = await self._store.read(lambda: [self._machine.facts[space, name].where])
        assert found is not None, "it is held for as long as the fact is known"
        return found[0]

    async def store(self, changes: Sequence[Change]) -> None:
        """See `Facts`."""
        await self._store.stored(Noted(tuple(map(fact_of, changes))))


def fact_of(change: Change) -> Fact:
    """A change as the store of calls has it."""
    return Fact(change.space, change.name, change.value)
