"""Calls found by their ids, wherever they are: in the table, among those that ended lately, or as a
result that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dispatcher.functions.ending.waiting import Waiting
from dispatcher.functions.ids import parse_id
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import Call, Phase
from dispatcher.functions.ports import Store
from dispatcher.functions.results.reading import Standing
from dispatcher.functions.results.store import Results
from dispatcher.functions.shown import (
    CallFilter,
    CallPage,
    CallView,
    ExplanationView,
    Timeline,
    TreeView,
)
from dispatcher.functions.spans import Span
from dispatcher.functions.surface import NoResult, ResultView
from dispatcher.functions.views.explaining import Explaining
from dispatcher.functions.views.history import History
from dispatcher.functions.views.looking import STATE_OF, Looking, fits
from dispatcher.functions.views.reasons import explained, has_ended

_RESULTS: Final = 1 << 63
"""The cursor of the first page of results: numbers of calls are above it, places of results
below."""


class Finding:
    """Looks calls up for people and applications. Methods that `surface.Functions` has too are as
    they are there."""

    def __init__(
        self,
        machine: Machine,
        store: Store,
        results: Results,
        *,
        looking: Looking,
        explaining: Explaining,
        history: History,
        waiting: Waiting,
        id_of: Callable[[int], str],
        now_us: Callable[[], int],
    ) -> None:
        """`id_of` gives the id of a key; `now_us` is the wall clock."""
        self._machine = machine
        self._store = store
        self._results = results
        self._looking = looking
        self._explaining = explaining
        self._history = history
        self._waiting = waiting
        self._id_of = id_of
        self._now_us = now_us

    def existing(self, call_id: str, only: str | None) -> Call | None:
        """A call that is in the table."""
        key = parse_id(call_id)
        call = None if key is None else self._machine.calls.get(key)
        return call if call is not None and only in (None, call.application) else None

    async def call(self, call_id: str, *, only: str | None) -> CallView | None:
        """See `Functions`."""
        call = self.existing(call_id, only)
        if call is not None:
            return self._looking.view(call)
        view = self._history.find(call_id)
        if view is None:
            key = parse_id(call_id)
            stored = None if key is None else await self._results.read(key)
            if stored is not None:
                view = self._looking.view_of_result(stored)
        return view if view is not None and only in (None, view.application) else None

    async def explain(self, call_id: str, *, only: str | None) -> ExplanationView | None:
        """See `Functions`."""
        call = self.existing(call_id, only)
        if call is not None:
            return self._explaining.explain(call, self._looking.view(call))
        view = await self.call(call_id, only=only)
        return None if view is None else explained(view, has_ended(view))

    async def calls(
        self, which: CallFilter, *, limit: int, cursor: int | None, only: str | None
    ) -> CallPage:
        """See `Functions`."""
        if cursor is not None and cursor <= _RESULTS:
            before = None if cursor == _RESULTS else cursor
            return await self._ended([], which, limit=limit, before=before, only=only)
        page = await self._looking.page(which, limit=limit, cursor=cursor, only=only)
        if which.state is not None and not which.state.has_ended:
            return page
        if page.next_cursor is not None or len(page.items) == limit:
            return CallPage(page.items, page.next_cursor or _RESULTS)
        return await self._ended(list(page.items), which, limit=limit, before=None, only=only)

    async def _ended(
        self,
        items: list[CallView],
        which: CallFilter,
        *,
        limit: int,
        before: int | None,
        only: str | None,
    ) -> CallPage:
        """A page that goes on with calls of which only their results are kept."""
        while len(items) < limit:
            found = await self._results.page(before, limit)
            for place, result in found:
                before = place
                if result.key in self._machine.calls:
                    continue  # it is on its way out of the table
                view = self._looking.view_of_result(result)
                if fits(view, which, only):
                    items.append(view)
                    if len(items) == limit:
                        break
            if not found:
                return CallPage(items, None)
        return CallPage(items, before)

    def tree_size(self, call: CallView) -> int:
        """See `Functions`."""
        root = parse_id(call.root_id)
        made = 1 if root is None else self._machine.trees.get(root, 1)
        return made + self._history.count_ended_under(call.root_id)

    async def tree(self, call_id: str, *, only: str | None) -> TreeView | None:
        """See `Functions`."""
        call = self.existing(call_id, only)
        if call is not None:
            return await self._looking.tree(call)
        view = await self.call(call_id, only=only)
        return None if view is None else await self._looking.tree(view)

    async def timeline(self, call_id: str, *, only: str | None) -> Timeline | None:
        """See `Functions`."""
        key = parse_id(call_id)
        if key is None or await self.call(call_id, only=only) is None:
            return None
        return self._history.timeline(key)

    async def result(
        self, call_id: str, *, wait_s: float, only: str | None
    ) -> ResultView | NoResult:
        """See `Functions`."""
        key = parse_id(call_id)
        if key is None:
            return NoResult.UNKNOWN
        end = asyncio.get_running_loop().time() + wait_s
        while True:
            found = await self._result(key, only)
            left_s = end - asyncio.get_running_loop().time()
            if found is not NoResult.NOT_YET or left_s <= 0:
                return found
            if not await self._waiting.wait(key, left_s):
                return await self._result(key, only)

    async def _result(self, key: int, only: str | None) -> ResultView | NoResult:
        call = self._machine.calls.get(key)
        if call is not None:
            if only not in (None, call.application):
                return NoResult.UNKNOWN
            if call.phase is not Phase.ENDED or call.how is None:
                return NoResult.NOT_YET
            how = call.how
            found = await self._store.read(lambda: _result_span(call))
            if found is not None:
                return ResultView(self._id_of(key), STATE_OF[how], found[0], self._now_us())
        stored = await self._results.read(key)
        if stored is None:
            return self._no_result(key, only)
        if only not in (None, stored.application):
            return NoResult.UNKNOWN
        return ResultView(self._id_of(key), STATE_OF[stored.how], stored.result, stored.ended_us)

    def _no_result(self, key: int, only: str | None) -> NoResult:
        """Of a call that has ended, if there was one. A child's result went to its caller."""
        child = self._history.find(self._id_of(key))
        if child is not None:
            return NoResult.EXPIRED if only in (None, child.application) else NoResult.UNKNOWN
        is_past = self._results.find(key) is Standing.EXPIRED
        return NoResult.EXPIRED if is_past else NoResult.UNKNOWN


def _result_span(call: Call) -> list[Span] | None:
    """Where the result of a call that has ended is; None once it has moved."""
    return None if call.result is None else [call.result]
