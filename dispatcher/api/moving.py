"""Calls that move messages which wait: to the dead letters, or to another destination."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dispatcher.api import too_late
from dispatcher.api.audit import Action, Audit
from dispatcher.api.bulk import Bulk
from dispatcher.api.expensive import Expensive
from dispatcher.api.jobs.calls import CANCELLED, JOB_BEGUN
from dispatcher.api.jobs.job import JobKind
from dispatcher.api.jobs.running import Jobs
from dispatcher.api.message_models import (
    DeadLettered,
    DeadLetterRequest,
    Redirected,
    RedirectManyRequest,
    RedirectRequest,
)
from dispatcher.api.models import ById, Nothing
from dispatcher.api.routes import Answer, AnyRoute, Asked, Route
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import Admin, Cancelled


class MovingCalls:
    """Give messages up, and redirect them."""

    def __init__(
        self, admin: Admin, expensive: Expensive, pace: Pace, audit: Audit, jobs: Jobs
    ) -> None:
        self._admin = admin
        self._audit = audit
        self._bulk = Bulk(admin, expensive, pace, jobs)

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "POST", "/v1/messages/dead-letter", self._give_up_many, "deadLetterMessages",
                "Move those selected that are not in flight to the dead letters",
                Nothing, Nothing, DeadLetterRequest, answer=DeadLettered,
                also=JOB_BEGUN, refusals=CANCELLED,
            ),
            Route(
                "POST", "/v1/messages/redirect", self._redirect_many, "redirectMessages",
                "Send those selected that are not in flight to another destination",
                Nothing, Nothing, RedirectManyRequest, answer=Redirected,
                also=JOB_BEGUN, refusals=CANCELLED,
            ),
            Route(
                "POST", "/v1/messages/{id}/dead-letter", self._give_up, "deadLetterMessage",
                "Move a message that waits to the dead letters",
                ById, Nothing, Nothing, status=204, refusals=too_late.REFUSALS,
            ),
            Route(
                "POST", "/v1/messages/{id}/redirect", self._redirect, "redirectMessage",
                "Send a message that waits to another destination, with fresh attempts",
                ById, Nothing, RedirectRequest, status=204, refusals=too_late.REFUSALS,
            ),
        ]  # fmt: skip

    async def _give_up(self, asked: Asked[ById, Nothing, Nothing]) -> None:
        message_id = asked.place.id
        with self._audit.acting(Action.DEAD_LETTERED, {"id": message_id}) as told:
            outcome = await self._admin.give_up(message_id)
            told.count = int(outcome is Cancelled.DONE)
        too_late.check(outcome, message_id, dead="it need not be moved")

    async def _redirect(self, asked: Asked[ById, Nothing, RedirectRequest]) -> None:
        message_id, to = asked.place.id, asked.body.to
        with self._audit.acting(Action.REDIRECTED, {"id": message_id, "to": to}) as told:
            outcome = await self._admin.redirect(message_id, to)
            told.count = int(outcome is Cancelled.DONE)
        too_late.check(outcome, message_id, dead="redrive it with another destination instead")

    async def _give_up_many(self, asked: Asked[Nothing, Nothing, DeadLetterRequest]) -> Answer:
        return await self._bulk.answer(
            *(asked.request, asked.body, self._admin.give_up_waiting, DeadLettered.of),
            kind=JobKind.DEAD_LETTER,
            action=Action.DEAD_LETTERED,
        )

    async def _redirect_many(self, asked: Asked[Nothing, Nothing, RedirectManyRequest]) -> Answer:
        to = asked.body.to
        redirect = partial(self._admin.redirect_waiting, to=to)
        return await self._bulk.answer(
            *(asked.request, asked.body, redirect, Redirected.of),
            kind=JobKind.REDIRECT,
            action=Action.REDIRECTED,
            told={**asked.body.told(), "to": to},
        )
