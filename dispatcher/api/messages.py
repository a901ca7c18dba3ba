"""Calls about one message: `/v1/messages/{id}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from dispatcher.api.audit import Action, Audit
from dispatcher.api.errors import ApiError
from dispatcher.api.message_models import Message, MessageExplanation
from dispatcher.api.models import ById, Nothing
from dispatcher.api.routes import AnyRoute, Asked, Route
from dispatcher.queue.admin.surface import Admin, Cancelled

_UNKNOWN = {
    404: "It never was, or was delivered long ago or before the last start: `message_unknown`."
}
_TOO_LATE = {
    409: "It can't be cancelled any more: `message_in_flight`, `message_delivered`, `message_dead`."
}


class MessageCalls:
    """Look at messages, and cancel them."""

    def __init__(self, admin: Admin, audit: Audit) -> None:
        self._admin = admin
        self._audit = audit

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/v1/messages/{id}", self._show, "showMessage", "One message",
                ById, Nothing, Nothing, answer=Message, refusals=_UNKNOWN,
            ),
            Route(
                "GET", "/v1/messages/{id}/explain", self._explain, "explainMessage",
                "The one reason why a message is not delivered yet",
                ById, Nothing, Nothing, answer=MessageExplanation, refusals=_UNKNOWN,
            ),
            Route(
                "DELETE", "/v1/messages/{id}", self._cancel, "cancelMessage",
                "Cancel a message: it is never delivered from then on",
                ById, Nothing, Nothing, status=204, refusals={**_UNKNOWN, **_TOO_LATE},
            ),
        ]  # fmt: skip

    async def _show(self, asked: Asked[ById, Nothing, Nothing]) -> Message:
        message = await self._admin.message(asked.place.id)
        if message is None:
            raise _unknown(asked.place.id)
        return Message.model_validate(message)

    async def _explain(self, asked: Asked[ById, Nothing, Nothing]) -> MessageExplanation:
        explanation = await self._admin.explain(asked.place.id)
        if explanation is None:
            raise _unknown(asked.place.id)
        return MessageExplanation.model_validate(explanation)

    async def _cancel(self, asked: Asked[ById, Nothing, Nothing]) -> None:
        message_id = asked.place.id
        with self._audit.acting(Action.CANCELLED, {"id": message_id}) as told:
            outcome = await self._admin.cancel(message_id)
            told.count = int(outcome is Cancelled.DONE)
        match outcome:
            case Cancelled.DONE:
                return
            case Cancelled.UNKNOWN:
                raise _unknown(message_id)
            case Cancelled.IN_FLIGHT:
                raise ApiError(
                    409,
                    "message_in_flight",
                    f"An attempt of message {message_id} is under way; cancel it when that has "
                    "failed.",
                )
            case Cancelled.DELIVERED:
                raise ApiError(409, "message_delivered", f"Message {message_id} was delivered.")
            case Cancelled.DEAD:
                raise ApiError(
                    409,
                    "message_dead",
                    f"Message {message_id} is a dead letter; purge that instead.",
                )
            case _:
                assert_never(outcome)


def _unknown(message_id: str) -> ApiError:
    return ApiError(
        404,
        "message_unknown",
        f"No message {message_id} is known: it never was, was cancelled or purged, or was "
        "delivered long ago or before the server's last start. Calls have commands of their own, "
        "`dispatcher calls`, and paths under /v1/calls.",
    )
