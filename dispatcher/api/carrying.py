"""Calls that carry messages out and in: `/v1/export` and `/v1/import`, a line of NDJSON each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal

from aiohttp import web
from pydantic import Field

from dispatcher.api.audit import Action
from dispatcher.api.errors import ApiError
from dispatcher.api.importing import Import, Imported
from dispatcher.api.jobs.job import JobKind
from dispatcher.api.jobs.running import Jobs
from dispatcher.api.letter_models import Filter
from dispatcher.api.models import Nothing
from dispatcher.api.routes import TOO_MANY_ASK, AnyRoute, Asked, Route
from dispatcher.api.streaming import begun
from dispatcher.api.unpacking import coding_of
from dispatcher.api.written import write_line
from dispatcher.core.keys import Role
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import (
    Admin,
    AnyCarried,
    Carrier,
    Course,
    MessageFilter,
    Unreadable,
)
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
        self,
        carrier: Carrier,
        admin: Admin,
        jobs: Jobs,
        events: Events,
        pace: Pace,
        *,
        max_body: int,
    ) -> None:
        self._carrier = carrier
        self._admin = admin
        self._jobs = jobs
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
                roles=frozenset({Role.ADMIN}),  # nothing in it is masked
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
        if query.state != "dead" and which != type(which)(
            destination=query.destination, label=query.label
        ):
            raise ApiError(
                400,
                "parameter_invalid",
                "Without `state=dead` there is no other filter than `destination` and `label`: add "
                "it.",
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
            told = query.model_dump(exclude_none=True)
            with self._jobs.attached(JobKind.EXPORT, Action.EXPORTED, told) as job:
                job.course.total = await self._total(query)
                is_whole = False
                async with begun(asked.request, answer):
                    await self._write(answer, self._carried(query), job.course)
                    is_whole = True
                if not is_whole:  # its reader has gone
                    job.course.cut()
        finally:
            self._exporting -= 1
        return answer

    async def _write(
        self, answer: web.StreamResponse, every: AsyncIterator[AnyCarried], course: Course
    ) -> None:
        """Write a line for each, in slices; those that are whole are counted.

        Raises:
            ApiError: the job was cancelled.
        """
        lines = size_bytes = 0
        async for carried in every:
            async for piece in write_line(carried):
                await answer.write(piece)
                size_bytes += len(piece)
                if size_bytes >= _SLICE_BYTES:
                    await self._pace.rest()
                    lines = size_bytes = 0
            is_whole = not isinstance(carried, Unreadable)
            course.did(int(is_whole), missed=int(not is_whole))
            lines += 1
            if lines == _SLICE_LINES:
                await self._pace.rest()
                lines = size_bytes = 0
            if not await course.turn():
                raise ApiError(409, "job_cancelled", "The export was cancelled; it is not whole.")

    async def _total(self, query: ExportQuery) -> int | None:
        """How many there are now; None: they would have to be read for that."""
        letters = query.filter()
        if letters.needs_record or (query.state != "dead" and query.label is not None):
            return None
        total = 0
        if query.state != "waiting":
            total += await self._admin.count_letters(letters)
        if query.state != "dead":
            which = MessageFilter(destination=query.destination)
            found = await self._admin.count_waiting(which)
            total += found.ready + found.scheduled + found.in_flight
        return total

    def _carried(self, query: ExportQuery) -> AsyncIterator[AnyCarried]:
        match query.state:
            case "dead":
                return self._carrier.dead(query.filter())
            case "waiting":
                return self._carrier.waiting(query.destination, label=query.label)
            case "all":
                return self._carrier.everything(query.destination, label=query.label)

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
            with self._jobs.attached(JobKind.IMPORT, Action.IMPORTED, {}) as job:
                lines = Import(
                    self._carrier, max_body=self._max_body, failed=failed, course=job.course
                )
                return await lines.run(request.content, coding_of(request))
