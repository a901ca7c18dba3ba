"""Calls about the whole and about destinations: `/v1/stats`, `/v1/destinations`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web
from pydantic import TypeAdapter

from dispatcher.api.models import ByDestination, DestinationState, Lane, Nothing, Stats
from dispatcher.api.portions import send_filled
from dispatcher.api.routes import AnyRoute, Asked, Route
from dispatcher.queue.admin import Admin

_ONE = "/v1/destinations/{destination}"
_LANES: Final = TypeAdapter(list[Lane])
_TOO_MANY = {409: "A thousand others are paused: `too_many_paused`."}


class DestinationCalls:
    """Look at lanes, pause and resume them."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/v1/stats", self._stats, "showStats", "Totals, states and lanes",
                Nothing, Nothing, Nothing, answer=Stats,
            ),
            Route(
                "POST", f"{_ONE}/pause", self._pause, "pauseDestination",
                "Send nothing there until it is resumed, restarts included",
                ByDestination, Nothing, Nothing, answer=DestinationState, refusals=_TOO_MANY,
            ),
            Route(
                "POST", f"{_ONE}/resume", self._resume, "resumeDestination", "Go on sending there",
                ByDestination, Nothing, Nothing, answer=DestinationState,
            ),
        ]  # fmt: skip

    async def _stats(self, asked: Asked[Nothing, Nothing, Nothing]) -> web.StreamResponse:
        stats = Stats.of(self._admin.totals())
        lanes = await self._admin.lanes()
        return await send_filled(asked.request, stats, '"lanes":[', lanes, _LANES)

    async def _pause(self, asked: Asked[ByDestination, Nothing, Nothing]) -> DestinationState:
        destination = await self._admin.pause(asked.place.destination)
        return DestinationState(destination=destination, paused=True)

    async def _resume(self, asked: Asked[ByDestination, Nothing, Nothing]) -> DestinationState:
        destination = await self._admin.resume(asked.place.destination)
        return DestinationState(destination=destination, paused=False)
