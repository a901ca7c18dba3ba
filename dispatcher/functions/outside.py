"""What the API asks of the function service (`surface.Functions`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dispatcher.functions import errors
from dispatcher.functions.endpoints import PROMISE
from dispatcher.functions.events import CancelAsked, Completed, Ended, Sent
from dispatcher.functions.limits import CLEANUP_US
from dispatcher.functions.model import How, Phase
from dispatcher.functions.service import FunctionService
from dispatcher.functions.shown import (
    CallFilter,
    CallPage,
    CallTotals,
    CallView,
    ExplanationView,
    Timeline,
    TreeView,
)
from dispatcher.functions.signing.keys import PublicKey
from dispatcher.functions.surface import (
    Cancelled,
    CancelMode,
    Dispatcher,
    NoResult,
    ResultView,
    Token,
)
from dispatcher.protocol.messages import DispatchRequest, RecallRequest, RecallResponse
from dispatcher.queue.admin.surface import EVERY_LANE, LaneFilter, LaneOrder, LanePage


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

    async def lanes(
        self, order: LaneOrder, *, which: LaneFilter = EVERY_LANE, after: str, limit: int
    ) -> LanePage:
        """See `Functions`."""
        return await self._service.overview.lanes(order, which=which, after=after, limit=limit)

    async def call(self, call_id: str, *, only: str | None) -> CallView | None:
        """See `Functions`."""
        return await self._service.finding.call(call_id, only=only)

    async def explain(self, call_id: str, *, only: str | None) -> ExplanationView | None:
        """See `Functions`."""
        return await self._service.finding.explain(call_id, only=only)

    async def calls(
        self, which: CallFilter, *, limit: int, cursor: int | None, only: str | None
    ) -> CallPage:
        """See `Functions`."""
        return await self._service.finding.calls(which, limit=limit, cursor=cursor, only=only)

    def tree_size(self, call: CallView) -> int:
        """See `Functions`."""
        return self._service.finding.tree_size(call)

    async def tree(self, call_id: str, *, only: str | None) -> TreeView | None:
        """See `Functions`."""
        return await self._service.finding.tree(call_id, only=only)

    async def timeline(self, call_id: str, *, only: str | None) -> Timeline | None:
        """See `Functions`."""
        return await self._service.finding.timeline(call_id, only=only)

    async def result(
        self, call_id: str, *, wait_s: float, only: str | None
    ) -> ResultView | NoResult:
        """See `Functions`."""
        return await self._service.finding.result(call_id, wait_s=wait_s, only=only)

    async def cancel(self, call_id: str, mode: CancelMode, *, only: str | None) -> Cancelled:
        """See `Functions`."""
        call = self._service.finding.existing(call_id, only)
        if call is None:
            is_known = await self.call(call_id, only=only) is not None
            return Cancelled.ENDED if is_known else Cancelled.UNKNOWN
        if call.phase is Phase.ENDED:
            return Cancelled.ENDED
        store, now_us = self._service.store, self._now_us()
        what = call.function or call.endpoint
        result = errors.cancelled(what)
        if mode is CancelMode.KILL:
            event = Ended(call.key, How.CANCELLED, result, now_us, with_children=True)
            await store.stored(event, urgent=True)
        else:
            asked = CancelAsked(
                call.key,
                errors.cancelled_error(what),
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
