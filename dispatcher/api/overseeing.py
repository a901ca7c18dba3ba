"""Calls about how the server is and was: `/v1/overview`, `/v1/history`."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from dispatcher.api.expensive import Expensive, Pieces
from dispatcher.api.json_line import json_line
from dispatcher.api.models import Nothing
from dispatcher.api.outlook import Outlook
from dispatcher.api.outlook_models import History, Overview
from dispatcher.api.routes import TOO_MANY_ASK, AnyRoute, Asked, Route
from dispatcher.api.streaming import send_pieces


class OutlookCalls:
    """What is wrong, and how the last hour was."""

    def __init__(self, outlook: Outlook, expensive: Expensive) -> None:
        self._outlook = outlook
        self._expensive = expensive

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/v1/overview", self._overview, "showOverview",
                "What is wrong now, and the facts on one page",
                Nothing, Nothing, Nothing, answer=Overview, refusals=TOO_MANY_ASK,
            ),
            Route(
                "GET", "/v1/history", self._history, "showHistory", "The last hour in figures",
                Nothing, Nothing, Nothing, answer=History, refusals=TOO_MANY_ASK,
            ),
        ]  # fmt: skip

    async def _overview(self, asked: Asked[Nothing, Nothing, Nothing]) -> web.StreamResponse:
        pieces = await self._expensive.shared("overview", self._written_overview)
        return await send_pieces(asked.request, pieces)

    async def _history(self, asked: Asked[Nothing, Nothing, Nothing]) -> web.StreamResponse:
        pieces = await self._expensive.shared("history", self._written_history)
        return await send_pieces(asked.request, pieces)

    async def _written_overview(self) -> Pieces:
        view = await self._outlook.overview()
        return [json_line(Overview.model_validate(view))]

    async def _written_history(self) -> Pieces:
        return [json_line(History.of(self._outlook.history()))]
