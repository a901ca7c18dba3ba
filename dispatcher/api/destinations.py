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
from dispatcher.api.message_models import DestinationState
from dispatcher.api.models import ByDestination, Nothing
from dispatcher.api.portions import filled
from dispatcher.api.routes import TOO_MANY_ASK, AnyRoute, Asked, Route
from dispatcher.api.stats_models import Lane, Stats, StatsQuery
from dispatcher.api.streaming import send_pieces
from dispatcher.functions.surface import Functions
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import Admin

_ONE = "/v1/destinations/{destination}"
_LANES: Final = TypeAdapter(list[Lane])
_TOO_MANY = {409: "A thousand others are held: `too_many_held`."}


class DestinationCalls:
    """Look at lanes, hold and resume them."""

    def __init__(
        self,
        admin: Admin,
        expensive: Expensive,
        pace: Pace,
        audit: Audit,
        functions: Functions | None,
    ) -> None:
        self._admin = admin
        self._functions = functions
        self._audit = audit
        self._expensive = expensive
        self._pace = pace

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/v1/stats", self._stats, "showStats", "Totals, states and lanes",
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
        ]  # fmt: skip

    async def _stats(self, asked: Asked[Nothing, StatsQuery, Nothing]) -> web.StreamResponse:
        query = asked.query
        key = ("stats", query.order, query.lanes_kind, query.lanes_cursor, query.lanes_limit)
        pieces = await self._expensive.shared(key, partial(self._written_stats, query))
        return await send_pieces(asked.request, pieces)

    async def _written_stats(self, query: StatsQuery) -> Pieces:
        page = await page_of_lanes(
            self._admin,
            self._functions,
            query.order,
            kind=query.kind,
            after=query.lanes_cursor or "",
            limit=query.lanes_limit,
        )
        calls = None if self._functions is None else await self._functions.totals()
        stats = Stats.of(self._admin.totals(), page, calls=calls)
        return await filled(stats, '"lanes":[', page.items, _LANES, pace=self._pace)

    async def _hold(self, asked: Asked[ByDestination, Nothing, Nothing]) -> DestinationState:
        with self._audit.acting(Action.HELD, asked.place.model_dump()) as told:
            destination = await self._admin.hold(asked.place.destination)
            told.count = 1
        return DestinationState(destination=destination, held=True, paused=True)

    async def _resume(self, asked: Asked[ByDestination, Nothing, Nothing]) -> DestinationState:
        with self._audit.acting(Action.RESUMED, asked.place.model_dump()) as told:
            destination = await self._admin.resume(asked.place.destination)
            told.count = 1
        return DestinationState(destination=destination, held=False, paused=False)
