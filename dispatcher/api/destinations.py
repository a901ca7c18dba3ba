"""Calls about the whole and about destinations: `/v1/stats`, `/v1/destinations`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import TypeAdapter

from dispatcher.api.all_lanes import page_of_lanes
from dispatcher.api.audit import Action, Audit
from dispatcher.api.expensive import Expensive, Pieces
from dispatcher.api.jobs.calls import CANCELLED, JOB_BEGUN
from dispatcher.api.jobs.job import JobKind
from dispatcher.api.jobs.running import Jobs
from dispatcher.api.message_models import DestinationRetried, DestinationState
from dispatcher.api.models import DEFERRED, ByDestination, Nothing
from dispatcher.api.portions import filled
from dispatcher.api.routes import TOO_MANY_ASK, Answer, AnyRoute, Asked, Route
from dispatcher.api.stats_models import Lane, Stats, StatsQuery
from dispatcher.api.streaming import send_pieces
from dispatcher.functions.surface import Functions
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import Admin, Course

_ONE = "/v1/destinations/{destination}"
_LANES: Final = TypeAdapter(list[Lane], config=DEFERRED)
_TOO_MANY = {409: "A thousand others are held: `too_many_held`."}


class DestinationCalls:
    """Look at destinations, hold and resume them."""

    def __init__(
        self,
        admin: Admin,
        expensive: Expensive,
        pace: Pace,
        audit: Audit,
        jobs: Jobs,
        functions: Functions | None,
    ) -> None:
        self._admin = admin
        self._functions = functions
        self._audit = audit
        self._jobs = jobs
        self._expensive = expensive
        self._pace = pace

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/v1/stats", self._stats, "showStats", "Totals, states and destinations",
                Nothing, StatsQuery, Nothing, answer=Stats, refusals=TOO_MANY_ASK,
            ),
            Route(
                "POST", f"{_ONE}/hold", self._hold, "holdDestination",
                "Send nothing there until it is resumed, restarts included",
                ByDestination, Nothing, Nothing, answer=DestinationState, refusals=_TOO_MANY,
            ),
            Route(
                "POST", f"{_ONE}/pause", self._hold, "pauseDestination", "The older name of `hold`",
                ByDestination, Nothing, Nothing, answer=DestinationState, refusals=_TOO_MANY,
            ),
            Route(
                "POST", f"{_ONE}/resume", self._resume, "resumeDestination", "Send there again",
                ByDestination, Nothing, Nothing, answer=DestinationState,
            ),
            Route(
                "POST", f"{_ONE}/retry", self._retry, "retryDestination",
                "Try it now: back off no longer, probe it if its breaker is open, let all messages "
                "be due",
                ByDestination, Nothing, Nothing, answer=DestinationRetried, also=JOB_BEGUN,
                refusals=CANCELLED,
            ),
        ]  # fmt: skip

    async def _stats(self, asked: Asked[Nothing, StatsQuery, Nothing]) -> web.StreamResponse:
        query = asked.query
        lanes = (query.lanes_kind, query.lanes_cursor, query.lanes_limit)
        key = ("stats", query.order, query.which, *lanes)
        pieces = await self._expensive.shared(key, partial(self._written_stats, query))
        return await send_pieces(asked.request, pieces)

    async def _written_stats(self, query: StatsQuery) -> Pieces:
        page = await page_of_lanes(
            self._admin,
            self._functions,
            query.order,
            kind=query.kind,
            which=query.which,
            after=query.lanes_cursor or "",
            limit=query.lanes_limit,
        )
        calls = None if self._functions is None else await self._functions.totals()
        stats = Stats.of(await self._admin.totals(), page, calls=calls)
        return await filled(stats, '"lanes":[', page.items, _LANES, pace=self._pace)

    async def _hold(self, asked: Asked[ByDestination, Nothing, Nothing]) -> DestinationState:
        with self._audit.acting(Action.HELD, asked.place.model_dump()) as told:
            destination = await self._admin.hold(asked.place.destination)
            told.count = 1
        return DestinationState(destination=destination, held=True, paused=True)

    async def _retry(self, asked: Asked[ByDestination, Nothing, Nothing]) -> Answer:
        destination = asked.place.destination

        async def work(course: Course) -> DestinationRetried:
            return DestinationRetried.of(
                await self._admin.retry_destination(destination, course=course)
            )

        told = asked.place.model_dump()
        job = self._jobs.begin(JobKind.RETRY, Action.RETRIED, told, work)
        return await self._jobs.answer(asked.request, job)

    async def _resume(self, asked: Asked[ByDestination, Nothing, Nothing]) -> DestinationState:
        with self._audit.acting(Action.RESUMED, asked.place.model_dump()) as told:
            destination = await self._admin.resume(asked.place.destination)
            told.count = 1
        return DestinationState(destination=destination, held=False, paused=False)
