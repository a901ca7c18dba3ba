"""Calls that were copied forward, before the records that they came from are trimmed.

What becomes of a call depends on those with the same root, and on nothing else that can be trimmed:
so these are copied together, at a moment between two events. At recovery they are either all there,
and lie elsewhere now; or none is, and when the last copy has come, all are restored. Where a copy
is missing before the last one, its record was trimmed: then they are gone, or were copied again,
and this one means nothing.
"""

from __future__ import annotations

from dispatcher.functions.events import Copied
from dispatcher.functions.machine.table import Table
from dispatcher.functions.model import Call

_Copy = tuple[int, int, Copied | None]
"""A copy that was read: base and key of the call, and where that is not in the table, the copy."""


class Copies:
    """What `Copied` means."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._copies: dict[int, list[_Copy]] = {}

    def copied(self, event: Copied) -> None:
        """A call lies elsewhere now. Nothing else of it can have changed: see `store`."""
        copy = event.call
        old = self._table.calls.get(copy.key)
        if old is not None:
            self._moved(old, copy)
        elif self._table.gone is None or copy.key in self._table.gone:
            return
        copies = self._copies.setdefault(copy.root, [])
        copies.append((copy.base, copy.key, None if old is not None else event))
        if event.count:
            self._all_copied(event, event.first or copy.base)

    def _all_copied(self, last: Copied, base: int) -> None:
        copies = [
            one
            for one in self._copies.pop(last.call.root)
            if one[0] >= base  # not of those that came before, which were given up
        ]
        if len(copies) != last.count:
            return
        table = self._table
        for _, key, event in copies:
            if event is not None and key not in table.calls:
                table.restore(event.call)
                if last.made:
                    table.trees[event.call.root] = last.made
        table.holder.copied([table.calls[key] for _, key, _ in copies], base)

    def _moved(self, old: Call, copy: Call) -> None:
        holder = self._table.holder
        for where in copy.spans:
            holder.hold(old, where)
        for where in old.spans:
            holder.release(old, where)
        old.input = copy.input
        old.states = copy.states
        old.results = copy.results
        old.error = copy.error
        old.result = copy.result
        old.kept = copy.kept

    def forget(self, root: int) -> None:
        """The calls with this root will be copied, all of them: what was copied before, at work,
        does not count."""
        self._copies.pop(root, None)

    def forget_all(self) -> None:
        """Every event of the log was applied."""
        self._copies.clear()

    def first(self, root: int) -> int:
        """From where on the log has the copies of calls with this root that were made so far."""
        return min(base for base, _, _ in self._copies[root])
