"""Calls about dead letters: `/v1/dead-letters`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web
from pydantic import TypeAdapter

from dispatcher.api import cursor
from dispatcher.api.errors import ApiError
from dispatcher.api.full_letter import send_letter
from dispatcher.api.models import (
    ById,
    Filter,
    FullLetter,
    Group,
    Groups,
    Letter,
    LetterQuery,
    Letters,
    Nothing,
    Purged,
    PurgeRequest,
    Redriven,
    RedriveRequest,
    Selection,
)
from dispatcher.api.portions import send_filled
from dispatcher.api.routes import AnyRoute, Asked, Route
from dispatcher.queue.admin import Admin, LetterFilter, Moved

_ROOT = "/v1/dead-letters"
_UNKNOWN = {404: "It is no dead letter, or not any more: `dead_letter_unknown`."}
_ITEMS: Final = TypeAdapter(list[Letter])
_GROUPS: Final = TypeAdapter(list[Group])


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

    async def _list(self, asked: Asked[Nothing, LetterQuery, Nothing]) -> web.StreamResponse:
        query = asked.query
        begin = cursor.FIRST_PAGE if query.cursor is None else query.cursor
        page = await self._admin.letters(query.filter(), cursor=begin, limit=query.limit)
        letters = Letters.of(page.next_cursor)
        return await send_filled(asked.request, letters, '"items":[', page.items, _ITEMS)

    async def _group(self, asked: Asked[Nothing, Filter, Nothing]) -> web.StreamResponse:
        groups = await self._admin.letter_groups(asked.query.filter())
        return await send_filled(asked.request, Groups(items=[]), '"items":[', groups, _GROUPS)

    async def _show(self, asked: Asked[ById, Nothing, Nothing]) -> web.StreamResponse:
        detail = await self._admin.letter(asked.place.id)
        if detail is None:
            raise _unknown(asked.place.id)
        return await send_letter(asked.request, detail)

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
