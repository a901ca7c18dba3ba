"""Calls about messages that wait, and about one: `/v1/messages`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import TypeAdapter

from dispatcher.api import cursor, too_late
from dispatcher.api.audit import Action, Audit
from dispatcher.api.bodies import BYTES, BodyQuery, send_body
from dispatcher.api.bulk import Bulk
from dispatcher.api.errors import ApiError
from dispatcher.api.expensive import Expensive, Pieces
from dispatcher.api.jobs.calls import CANCELLED, JOB_BEGUN
from dispatcher.api.jobs.job import JobKind
from dispatcher.api.jobs.running import Jobs
from dispatcher.api.masking import Headers, Revealing
from dispatcher.api.message_models import Cancelled as CancelledMany
from dispatcher.api.message_models import (
    CancelRequest,
    FullMessage,
    Message,
    MessageExplanation,
    Messages,
    Retried,
    RetryRequest,
    WaitingQuery,
)
from dispatcher.api.models import DEFERRED, ById, Nothing
from dispatcher.api.portions import filled
from dispatcher.api.routes import TOO_MANY_ASK, Answer, AnyRoute, Asked, Route
from dispatcher.api.streaming import send_pieces
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import (
    Admin,
    Cancelled,
    MessageDetail,
    MessageState,
)

_ITEMS: Final = TypeAdapter(list[Message], config=DEFERRED)
_CAME_TO: Final = {
    MessageState.DELIVERED: Cancelled.DELIVERED,
    MessageState.DEAD: Cancelled.DEAD,
}


class MessageCalls:
    """Look at messages, cancel them, and let them be due."""

    def __init__(
        self,
        admin: Admin,
        expensive: Expensive,
        pace: Pace,
        audit: Audit,
        jobs: Jobs,
        headers: Headers,
    ) -> None:
        self._admin = admin
        self._headers = headers
        self._bulk = Bulk(admin, expensive, pace, jobs)
        self._expensive = expensive
        self._pace = pace
        self._audit = audit

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/v1/messages", self._list, "listMessages",
                "Messages that wait: neither delivered nor dead",
                Nothing, WaitingQuery, Nothing, answer=Messages, refusals=TOO_MANY_ASK,
            ),
            Route(
                "GET", "/v1/messages/{id}", self._show, "showMessage", "One message",
                ById, Revealing, Nothing, answer=FullMessage, refusals=too_late.UNKNOWN,
            ),
            Route(
                "GET", "/v1/messages/{id}/body", self._send_body, "getMessageBody",
                "Its body as it is, or the beginning of it",
                ById, BodyQuery, Nothing, content_type=BYTES,
                refusals={**too_late.UNKNOWN, 409: "It was delivered: `message_delivered`."},
            ),
            Route(
                "POST", "/v1/messages/cancel", self._cancel_many, "cancelMessages",
                "Cancel those selected that are not in flight; the answer comes when all are",
                Nothing, Nothing, CancelRequest, answer=CancelledMany,
                also=JOB_BEGUN, refusals=CANCELLED,
            ),
            Route(
                "POST", "/v1/messages/retry", self._retry_many, "retryMessages",
                "Let those selected be due now; their destinations are not asked",
                Nothing, Nothing, RetryRequest, answer=Retried,
                also=JOB_BEGUN, refusals=CANCELLED,
            ),
            Route(
                "POST", "/v1/messages/{id}/retry", self._retry, "retryMessage",
                "Let a message be due now; what it waits for then",
                ById, Nothing, Nothing, answer=MessageExplanation,
                refusals=too_late.REFUSALS,
            ),
            Route(
                "GET", "/v1/messages/{id}/explain", self._explain, "explainMessage",
                "The one reason why a message is not delivered yet",
                ById, Nothing, Nothing, answer=MessageExplanation, refusals=too_late.UNKNOWN,
            ),
            Route(
                "DELETE", "/v1/messages/{id}", self._cancel, "cancelMessage",
                "Cancel a message: it is never delivered from then on",
                ById, Nothing, Nothing, status=204, refusals=too_late.REFUSALS,
            ),
        ]  # fmt: skip

    async def _list(self, asked: Asked[Nothing, WaitingQuery, Nothing]) -> web.StreamResponse:
        pieces = await self._expensive.alone(partial(self._written_page, asked.query))
        return await send_pieces(asked.request, pieces)

    async def _written_page(self, query: WaitingQuery) -> Pieces:
        begin = cursor.FIRST_PAGE if query.cursor is None else query.cursor
        page = await self._admin.waiting(query.filter(), cursor=begin, limit=query.limit)
        messages = Messages.of(page.next_cursor, page.incomplete)
        return await filled(messages, '"items":[', page.items, _ITEMS, pace=self._pace)

    async def _show(self, asked: Asked[ById, Revealing, Nothing]) -> FullMessage:
        found = await self._found(asked.place.id)
        shown = None
        if found.headers is not None:
            of = {"id": asked.place.id}
            shown = self._headers.shown(asked.request, found.headers, asked.query, of=of)
        return FullMessage.of(found.message, shown)

    async def _send_body(self, asked: Asked[ById, BodyQuery, Nothing]) -> web.StreamResponse:
        found = await self._found(asked.place.id)
        if found.body is None:
            raise ApiError(
                409,
                "message_delivered",
                f"Message {asked.place.id} was delivered; its body is not kept.",
            )
        return await send_body(
            asked.request,
            found.body,
            asked.query,
            self._pace,
            of=asked.place.id,
            size_bytes=found.message.size_bytes or 0,
        )

    async def _found(self, message_id: str) -> MessageDetail:
        found = await self._admin.message_detail(message_id)
        if found is None:
            raise too_late.unknown(message_id)
        return found

    async def _explain(self, asked: Asked[ById, Nothing, Nothing]) -> MessageExplanation:
        explanation = await self._admin.explain(asked.place.id)
        if explanation is None:
            raise too_late.unknown(asked.place.id)
        return MessageExplanation.model_validate(explanation)

    async def _cancel_many(self, asked: Asked[Nothing, Nothing, CancelRequest]) -> Answer:
        return await self._bulk.answer(
            *(asked.request, asked.body, self._admin.cancel_waiting, CancelledMany.of),
            kind=JobKind.CANCEL,
            action=Action.CANCELLED,
        )

    async def _retry_many(self, asked: Asked[Nothing, Nothing, RetryRequest]) -> Answer:
        return await self._bulk.answer(
            *(asked.request, asked.body, self._admin.retry_waiting, Retried.of),
            kind=JobKind.RETRY,
            action=Action.RETRIED,
        )

    async def _retry(self, asked: Asked[ById, Nothing, Nothing]) -> MessageExplanation:
        message_id = asked.place.id
        with self._audit.acting(Action.RETRIED, {"id": message_id}) as told:
            touched = await self._admin.retry_waiting([message_id])
            told.count = touched.scheduled
        explanation = await self._admin.explain(message_id)
        if explanation is None:
            raise too_late.unknown(message_id)
        is_left = explanation.state in (MessageState.READY, MessageState.SCHEDULED)  # and says why
        if not (touched.ready or touched.scheduled or is_left):
            came_to = _CAME_TO.get(explanation.state, Cancelled.IN_FLIGHT)
            too_late.check(came_to, message_id, dead="redrive that instead")
        return MessageExplanation.model_validate(explanation)

    async def _cancel(self, asked: Asked[ById, Nothing, Nothing]) -> None:
        message_id = asked.place.id
        with self._audit.acting(Action.CANCELLED, {"id": message_id}) as told:
            outcome = await self._admin.cancel(message_id)
            told.count = int(outcome is Cancelled.DONE)
        too_late.check(outcome, message_id, dead="purge that instead")
