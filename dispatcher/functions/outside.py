"""What the API asks of the function service (`surface.Functions`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from dispatcher.functions import errors
from dispatcher.functions.events import CancelAsked, Completed, Ended, Sent
from dispatcher.functions.ids import parse_id
from dispatcher.functions.limits import CLEANUP_US
from dispatcher.functions.machine import PROMISE
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.results.reading import Standing
from dispatcher.functions.service import FunctionService
from dispatcher.functions.shown import (
    CallFilter,
    CallPage,
    CallTotals,
    CallView,
    Timeline,
    TreeView,
)
from dispatcher.functions.signing.keys import PublicKey
from dispatcher.functions.spans import Span
from dispatcher.functions.surface import (
    Cancelled,
    CancelMode,
    Dispatcher,
    NoResult,
    ResultView,
    Token,
)
from dispatcher.functions.views.looking import STATE_OF, fits
from dispatcher.protocol.messages import DispatchRequest, RecallRequest, RecallResponse
from dispatcher.queue.admin.surface import LaneOrder, LanePage

_RESULTS: Final = 1 << 63
"""The cursor of the first page of results: numbers of calls are above it, places of results
below."""


class Outside:
    """Implements `surface.Functions` for one partition."""

    def __init__(
        self,
        service: FunctionService,
        *,
        now_us: Callable[[], int],
        retention_us: int,
    ) -> None:
        """`retention_us` is for how long results from outside are kept."""
        self._service = service
        self._now_us = now_us
        self._retention_us = retention_us
        self._completing: dict[tuple[str, str], asyncio.Future[None]] = {}

    async def dispatch(
        self, request: DispatchRequest, caller: Dispatcher, token: Token | None = None
    ) -> Sequence[str]:
        """See `Functions`."""
        return await self._service.intake.dispatch(request, caller, token)

    async def recall(self, request: RecallRequest) -> RecallResponse:
        """See `Functions`."""
        return await self._service.recalling.recall(request)

    async def totals(self) -> CallTotals:
        """See `Functions`."""
        return await self._service.overview.totals()

    async def lanes(self, order: LaneOrder, *, after: str, limit: int) -> LanePage:
        """See `Functions`."""
        return await self._service.overview.lanes(order, after=after, limit=limit)

    def _find(self, call_id: str, only: str | None) -> Call | None:
        key = parse_id(call_id)
        call = None if key is None else self._service.machine.calls.get(key)
        return call if call is not None and only in (None, call.application) else None

    async def call(self, call_id: str, *, only: str | None) -> CallView | None:
        """See `Functions`."""
        call = self._find(call_id, only)
        if call is not None:
            return self._service.looking.view(call)
        view = self._service.history.find(call_id)
        if view is None:
            key = parse_id(call_id)
            stored = None if key is None else await self._service.results.read(key)
            if stored is not None:
                view = self._service.looking.view_of_result(stored)
        return view if view is not None and only in (None, view.application) else None

    async def calls(
        self, which: CallFilter, *, limit: int, cursor: int | None, only: str | None
    ) -> CallPage:
        """See `Functions`."""
        if cursor is None or cursor > _RESULTS:
            page = await self._service.looking.page(which, limit=limit, cursor=cursor, only=only)
            if which.state is not None and not which.state.has_ended:
                return page
            if page.next_cursor is not None or len(page.items) == limit:
                return CallPage(page.items, page.next_cursor or _RESULTS)
            items, before = list(page.items), None
        else:
            items, before = [], None if cursor == _RESULTS else cursor
        while len(items) < limit:
            found = await self._service.results.page(before, limit)
            for place, result in found:
                before = place
                if result.key in self._service.machine.calls:
                    continue  # it is on its way out of the table
                view = self._service.looking.view_of_result(result)
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
        made = 1 if root is None else self._service.machine.trees.get(root, 1)
        return made + self._service.history.count_ended_under(call.root_id)

    async def tree(self, call_id: str, *, only: str | None) -> TreeView | None:
        """See `Functions`."""
        call = self._find(call_id, only)
        if call is not None:
            return await self._service.looking.tree(call)
        view = await self.call(call_id, only=only)
        return None if view is None else await self._service.looking.tree(view)

    async def timeline(self, call_id: str, *, only: str | None) -> Timeline | None:
        """See `Functions`."""
        key = parse_id(call_id)
        if key is None or await self.call(call_id, only=only) is None:
            return None
        return self._service.history.timeline(key)

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
            if not await self._service.waiting.wait(key, left_s):
                return await self._result(key, only)

    async def _result(self, key: int, only: str | None) -> ResultView | NoResult:
        call = self._service.machine.calls.get(key)
        spell = self._service.spell
        if call is not None:
            if only not in (None, call.application):
                return NoResult.UNKNOWN
            if call.phase is not Phase.ENDED or call.how is None:
                return NoResult.NOT_YET
            how = call.how
            found = await self._service.store.read(lambda: _result_span(call))
            if found is not None:
                return ResultView(spell(key), STATE_OF[how], found[0], self._now_us())
        stored = await self._service.results.read(key)
        if stored is None:
            is_past = self._service.results.find(key) is Standing.EXPIRED
            return NoResult.EXPIRED if is_past else NoResult.UNKNOWN
        if only not in (None, stored.application):
            return NoResult.UNKNOWN
        return ResultView(spell(key), STATE_OF[stored.how], stored.result, stored.ended_us)

    async def cancel(self, call_id: str, mode: CancelMode, *, only: str | None) -> Cancelled:
        """See `Functions`."""
        call = self._find(call_id, only)
        if call is None:
            is_known = await self.call(call_id, only=only) is not None
            return Cancelled.ENDED if is_known else Cancelled.UNKNOWN
        if call.phase is Phase.ENDED:
            return Cancelled.ENDED
        store, now_us = self._service.store, self._now_us()
        result = errors.cancelled(call.function)
        if mode is CancelMode.KILL:
            event = Ended(call.key, How.CANCELLED, result, now_us, with_children=True)
            await store.stored(event, urgent=True)
        else:
            asked = CancelAsked(
                call.key,
                errors.cancelled_error(call.function),
                result,
                now_us + CLEANUP_US,
                tuple(self._service.runner.running),
            )
            await store.stored(asked, urgent=True)
        return Cancelled.DONE

    async def complete(self, application: str, name: str, result: bytes, *, is_error: bool) -> bool:
        """See `Functions`."""
        promise = (application, PROMISE + name)
        while (other := self._completing.get(promise)) is not None:
            await asyncio.wait([other])
        now_us = self._now_us()
        kept = self._service.machine.promises.get(promise)
        if kept is not None and kept.expires_us > now_us:
            return False
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._completing[promise] = done
        try:
            expires_us = now_us + self._retention_us
            await self._service.store.stored(
                Completed(application, name, result, is_error, now_us, expires_us)
            )
        finally:
            del self._completing[promise]
            done.set_result(None)
        return True

    async def send(self, application: str, name: str, result: bytes, *, is_error: bool) -> None:
        """See `Functions`."""
        expires_us = self._now_us() + self._retention_us
        number = self._service.next_key()
        event = Sent(application, name, result, is_error, expires_us, number)
        await self._service.store.stored(event)

    async def signing_keys(self) -> Sequence[PublicKey]:
        """See `Functions`."""
        return self._service.signing.keys.public

    async def create_signing_key(self) -> PublicKey:
        """See `Functions`."""
        return await self._service.signing.rotate()


def _result_span(call: Call) -> list[Span] | None:
    """Where the result of a call that has ended is; None once it has moved."""
    return None if call.result is None else [call.result]
