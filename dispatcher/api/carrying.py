"""Calls that carry messages out and in: `/v1/export` and `/v1/import`, a line of NDJSON each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal

from aiohttp import web
from pydantic import Field

from dispatcher.api.audit import Action, Audit
from dispatcher.api.errors import ApiError
from dispatcher.api.importing import Import, Imported
from dispatcher.api.letter_models import Filter
from dispatcher.api.models import Nothing
from dispatcher.api.routes import TOO_MANY_ASK, AnyRoute, Asked, Route
from dispatcher.api.streaming import begun
from dispatcher.api.unpacking import coding_of
from dispatcher.api.written import write_line
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import AnyCarried, Carrier, Unreadable
from dispatcher.telemetry.events import Events

NDJSON: Final = "application/x-ndjson"
MOST_EXPORTS: Final = 2
_SLICE_LINES: Final = 16
_SLICE_BYTES: Final = 256 * 1024
"""What is written before others get their turn: about half a millisecond."""

_State = Literal["dead", "waiting", "all"]


class ExportQuery(Filter):
    """What is exported."""

    state: _State = Field("all", description="Dead letters, what waits, or both.")


class CarryCalls:
    """Export and import. One import at a time: each may hold a body of `max_body` in memory.
    `pace` says when a slice of an export may be made."""

    def __init__(
        self, carrier: Carrier, audit: Audit, events: Events, pace: Pace, *, max_body: int
    ) -> None:
        self._carrier = carrier
        self._audit = audit
        self._events = events
        self._max_body = max_body
        self._pace = pace
        self._exporting = 0
        self._importing = asyncio.Lock()

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", "/v1/export", self._export, "exportMessages",
                "Messages and dead letters, a line of JSON each",
                Nothing, ExportQuery, Nothing, content_type=NDJSON, refusals=TOO_MANY_ASK,
            ),
            Route(
                "POST", "/v1/import", self._import, "importMessages",
                "Store what was exported, under new ids; what is counted is durable",
                Nothing, Nothing, Nothing, answer=Imported, streams=NDJSON,
                refusals={409: "Another import is under way: `import_under_way`."},
            ),
        ]  # fmt: skip

    async def _export(self, asked: Asked[Nothing, ExportQuery, Nothing]) -> web.StreamResponse:
        query = asked.query
        which = query.filter()
        if query.state != "dead" and which != type(which)(destination=query.destination):
            raise ApiError(
                400,
                "parameter_invalid",
                "Only dead letters have a kind, a function, a status, an error and a time of "
                "death: add `state=dead`.",
            )
        answer = web.StreamResponse(headers={"Content-Type": NDJSON})
        if asked.request.method == "HEAD":
            return answer
        if self._exporting == MOST_EXPORTS:
            raise ApiError(
                503,
                "api_busy",
                f"{MOST_EXPORTS} exports are under way; ask again when one has ended.",
                headers={"Retry-After": "5"},
            )
        self._exporting += 1
        try:
            with self._audit.acting(Action.EXPORTED, query.model_dump(exclude_none=True)) as told:
                async with begun(asked.request, answer):
                    told.count = await self._write(answer, self._carried(query))
        finally:
            self._exporting -= 1
        return answer

    async def _write(self, answer: web.StreamResponse, every: AsyncIterator[AnyCarried]) -> int:
        """Write a line for each, in slices; returns how many are whole."""
        count = lines = size_bytes = 0
        async for carried in every:
            async for piece in write_line(carried):
                await answer.write(piece)
                size_bytes += len(piece)
                if size_bytes >= _SLICE_BYTES:
                    await self._pace.rest()
                    lines = size_bytes = 0
            count += not isinstance(carried, Unreadable)
            lines += 1
            if lines == _SLICE_LINES:
                await self._pace.rest()
                lines = size_bytes = 0
        return count

    def _carried(self, query: ExportQuery) -> AsyncIterator[AnyCarried]:
        match query.state:
            case "dead":
                return self._carrier.dead(query.filter())
            case "waiting":
                return self._carrier.waiting(query.destination)
            case "all":
                return self._carrier.everything(query.destination)

    async def _import(self, asked: Asked[Nothing, Nothing, Nothing]) -> Imported:
        if asked.request.content_type != NDJSON:
            raise ApiError(
                415, "content_type_invalid", f"Send the body with `Content-Type: {NDJSON}`."
            )
        if self._importing.locked():
            raise ApiError(409, "import_under_way", "Another import is under way; ask again.")
        request = asked.request

        def failed(error: Exception) -> None:
            self._events.api_failed(method=request.method, path=request.path, exc_info=error)

        async with self._importing:
            with self._audit.acting(Action.IMPORTED, {}) as told:
                lines = Import(self._carrier, max_body=self._max_body, failed=failed)
                imported = await lines.run(request.content, coding_of(request))
                told.count = imported.imported
                return imported
