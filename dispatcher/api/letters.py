"""Calls about dead letters: `/v1/dead-letters`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from dispatcher.api import cursor
from dispatcher.api.answers import response
from dispatcher.api.errors import ApiError
from dispatcher.api.models import (
    ById,
    Filter,
    FullLetter,
    Groups,
    LetterQuery,
    Letters,
    Nothing,
    Purged,
    PurgeRequest,
    Redriven,
    RedriveRequest,
    Selection,
)
from dispatcher.api.routes import JSON, Answer, AnyRoute, Asked, Route
from dispatcher.queue.admin import Admin, LetterDetail, LetterFilter, LetterPage, Moved

_ROOT = "/v1/dead-letters"
_UNKNOWN = {404: "It is no dead letter, or not any more: `dead_letter_unknown`."}
# Above this many bytes an answer is put together in a thread: the loop has other things to do.
_LARGE_BODY_BYTES = 256 * 1024
_AT_ONCE = 10
_REST_SECONDS = 0.001


class LetterCalls:
    """Look at dead letters, redrive and purge them."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table. The fixed paths are before those with an id."""
        return [
            Route(
                "GET", _ROOT, self._list, "listDeadLetters", "Dead letters, oldest first",
                Nothing, LetterQuery, Nothing, answer=Letters,
            ),
            Route(
                "GET", f"{_ROOT}/groups", self._group, "groupDeadLetters",
                "How many dead letters there are, by destination and cause",
                Nothing, Filter, Nothing, answer=Groups,
            ),
            Route(
                "POST", f"{_ROOT}/redrive", self._redrive, "redriveDeadLetters",
                "Make those selected ready again; the answer comes when the last one is",
                Nothing, Nothing, RedriveRequest, answer=Redriven,
            ),
            Route(
                "POST", f"{_ROOT}/purge", self._purge, "purgeDeadLetters",
                "Remove those selected for good",
                Nothing, Nothing, PurgeRequest, answer=Purged,
            ),
            Route(
                "GET", f"{_ROOT}/{{id}}", self._show, "showDeadLetter",
                "One dead letter with request, body and every attempt",
                ById, Nothing, Nothing, answer=FullLetter, refusals=_UNKNOWN,
            ),
            Route(
                "POST", f"{_ROOT}/{{id}}/redrive", self._redrive_one, "redriveDeadLetter",
                "Make one ready again under the same id, attempts from 1",
                ById, Nothing, Nothing, status=202, answer=Redriven, refusals=_UNKNOWN,
            ),
            Route(
                "DELETE", f"{_ROOT}/{{id}}", self._purge_one, "purgeDeadLetter",
                "Remove one for good",
                ById, Nothing, Nothing, status=204, refusals=_UNKNOWN,
            ),
        ]  # fmt: skip

    async def _list(self, asked: Asked[Nothing, LetterQuery, Nothing]) -> Answer:
        query = asked.query
        begin = cursor.FIRST_PAGE if query.cursor is None else query.cursor
        page = await self._admin.letters(query.filter(), cursor=begin, limit=query.limit)
        return await _listed(page)

    async def _group(self, asked: Asked[Nothing, Filter, Nothing]) -> Groups:
        groups = await self._admin.letter_groups(asked.query.filter())
        return Groups.model_validate({"items": groups})

    async def _show(self, asked: Asked[ById, Nothing, Nothing]) -> Answer:
        detail = await self._admin.letter(asked.place.id)
        if detail is None:
            raise _unknown(asked.place.id)
        return await _full(detail)

    async def _redrive_one(self, asked: Asked[ById, Nothing, Nothing]) -> Redriven:
        moved = await self._admin.redrive([asked.place.id])
        return Redriven.of(_all(moved))

    async def _purge_one(self, asked: Asked[ById, Nothing, Nothing]) -> None:
        _all(await self._admin.purge([asked.place.id]))

    async def _redrive(self, asked: Asked[Nothing, Nothing, RedriveRequest]) -> Redriven:
        body = asked.body
        if body.dry_run:
            return Redriven.of(await self._counted(body))
        return Redriven.of(await self._admin.redrive(body.which(), rate=body.rate))

    async def _purge(self, asked: Asked[Nothing, Nothing, PurgeRequest]) -> Purged:
        body = asked.body
        if body.dry_run:
            return Purged.of(await self._counted(body))
        return Purged.of(await self._admin.purge(body.which()))

    async def _counted(self, selection: Selection) -> Moved:
        """What would come of it now."""
        which = selection.which()
        if isinstance(which, LetterFilter):
            return Moved(await self._admin.count_letters(which), [])
        missing = self._admin.missing_letters(which)
        return Moved(len(which) - len(missing), missing)


async def _listed(page: LetterPage) -> Answer:
    """A page, put together in slices: a thousand items at once take as long as a hundred messages,
    which would wait meanwhile."""
    if len(page.items) <= _AT_ONCE:
        return Letters.of(page)
    pieces = []
    for start in range(0, len(page.items), _AT_ONCE):
        part = Letters.of(LetterPage(page.items[start : start + _AT_ONCE], None))
        pieces.append(",".join(item.model_dump_json() for item in part.items))
        await asyncio.sleep(_REST_SECONDS)
    end = Letters.of(LetterPage((), page.next_cursor)).model_dump_json(include={"next"})
    text = f'{{"items":[{",".join(pieces)}],{end[1:]}'
    return web.Response(text=text, content_type=JSON)


async def _full(detail: LetterDetail) -> Answer:
    if len(detail.body) < _LARGE_BODY_BYTES:
        return FullLetter.of(detail)
    return await asyncio.to_thread(lambda: response(FullLetter.of(detail)))


def _all(moved: Moved) -> Moved:
    """What was asked for by its id must have been there."""
    for message_id in moved.not_found:
        raise _unknown(message_id)
    return moved


def _unknown(message_id: str) -> ApiError:
    return ApiError(
        404,
        "dead_letter_unknown",
        f"{message_id} is no dead letter: it never died, or was redriven or purged before.",
    )
