"""Calls about dead letters: `/v1/dead-letters`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import TypeAdapter

from dispatcher.api import cursor
from dispatcher.api.audit import Action, Audit, ids
from dispatcher.api.errors import ApiError
from dispatcher.api.expensive import Expensive, Pieces
from dispatcher.api.fields import checked_id
from dispatcher.api.full_letter import send_letter
from dispatcher.api.letter_models import (
    Filter,
    FullLetter,
    Group,
    Groups,
    Letter,
    LetterQuery,
    Letters,
    Purged,
    PurgeRequest,
    Redriven,
    RedriveRequest,
    Selection,
)
from dispatcher.api.models import ById, Nothing
from dispatcher.api.portions import filled
from dispatcher.api.routes import TOO_MANY_ASK, AnyRoute, Asked, Route
from dispatcher.api.streaming import send_pieces
from dispatcher.errors import LogCorrupt
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import Admin, LetterFilter, Moved

_ROOT = "/v1/dead-letters"
_UNKNOWN = {404: "It is no dead letter, or not any more: `dead_letter_unknown`."}
_UNSERVED = {
    409: "It is a call, and this server has no function service: `function_service_missing`."
}
_ITEMS: Final = TypeAdapter(list[Letter])
_GROUPS: Final = TypeAdapter(list[Group])
_IDS_AT_ONCE: Final = 1000
"""They take a fraction of a millisecond."""


class LetterCalls:
    """Look at dead letters, redrive and purge them."""

    def __init__(self, admin: Admin, expensive: Expensive, pace: Pace, audit: Audit) -> None:
        self._admin = admin
        self._audit = audit
        self._expensive = expensive
        self._pace = pace

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table. The fixed paths are before those with an id."""
        return [
            Route(
                "GET", _ROOT, self._list, "listDeadLetters", "Dead letters, oldest first",
                Nothing, LetterQuery, Nothing, answer=Letters, refusals=TOO_MANY_ASK,
            ),
            Route(
                "GET", f"{_ROOT}/groups", self._group, "groupDeadLetters",
                "How many dead letters there are, by destination and cause",
                Nothing, Filter, Nothing, answer=Groups, refusals=TOO_MANY_ASK,
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
                ById, Nothing, Nothing, status=202, answer=Redriven,
                refusals={**_UNKNOWN, **_UNSERVED},
            ),
            Route(
                "DELETE", f"{_ROOT}/{{id}}", self._purge_one, "purgeDeadLetter",
                "Remove one for good",
                ById, Nothing, Nothing, status=204, refusals=_UNKNOWN,
            ),
        ]  # fmt: skip

    async def _list(self, asked: Asked[Nothing, LetterQuery, Nothing]) -> web.StreamResponse:
        pieces = await self._expensive.alone(partial(self._written_page, asked.query))
        return await send_pieces(asked.request, pieces)

    async def _written_page(self, query: LetterQuery) -> Pieces:
        begin = cursor.FIRST_PAGE if query.cursor is None else query.cursor
        page = await self._admin.letters(query.filter(), cursor=begin, limit=query.limit)
        letters = Letters.of(page.next_cursor)
        return await filled(letters, '"items":[', page.items, _ITEMS, pace=self._pace)

    async def _group(self, asked: Asked[Nothing, Filter, Nothing]) -> web.StreamResponse:
        which = asked.query.filter()
        pieces = await self._expensive.shared(
            ("groups", which), partial(self._written_groups, which)
        )
        return await send_pieces(asked.request, pieces)

    async def _written_groups(self, which: LetterFilter) -> Pieces:
        found = await self._admin.letter_groups(which)
        groups = Groups(items=[], total=found.total)
        return await filled(groups, '"items":[', found.items, _GROUPS, pace=self._pace)

    async def _show(self, asked: Asked[ById, Nothing, Nothing]) -> web.StreamResponse:
        try:
            detail = await self._admin.letter(asked.place.id)
        except LogCorrupt as error:
            raise _damaged(asked.place.id) from error
        if detail is None:
            raise _unknown(asked.place.id)
        return await send_letter(asked.request, detail, self._pace)

    async def _redrive_one(self, asked: Asked[ById, Nothing, Nothing]) -> Redriven:
        with self._audit.acting(Action.REDRIVEN, {"id": asked.place.id}) as told:
            moved = await self._admin.redrive([asked.place.id])
            told.count = moved.count
        return Redriven.of(_all(moved))

    async def _purge_one(self, asked: Asked[ById, Nothing, Nothing]) -> None:
        with self._audit.acting(Action.PURGED, {"id": asked.place.id}) as told:
            moved = await self._admin.purge([asked.place.id])
            told.count = moved.count
        _all(moved)

    async def _redrive(self, asked: Asked[Nothing, Nothing, RedriveRequest]) -> Redriven:
        body = asked.body
        which = await self._which(body)
        if body.dry_run:
            return Redriven.of(await self._counted(which))
        with self._audit.acting(Action.REDRIVEN, _told(body)) as told:
            moved = await self._admin.redrive(which, rate=body.rate)
            told.count = moved.count
        return Redriven.of(moved)

    async def _purge(self, asked: Asked[Nothing, Nothing, PurgeRequest]) -> Purged:
        body = asked.body
        which = await self._which(body)
        if body.dry_run:
            return Purged.of(await self._counted(which))
        with self._audit.acting(Action.PURGED, _told(body)) as told:
            moved = await self._admin.purge(which)
            told.count = moved.count
        return Purged.of(moved)

    async def _which(self, selection: Selection) -> LetterFilter | Sequence[str]:
        """What was selected, as the queue understands it; each id once, in the caller's order.

        Raises:
            ApiError: 400, one is no id.
        """
        if selection.ids is None:
            return selection.filter()
        which: dict[str, None] = {}
        for start in range(0, len(selection.ids), _IDS_AT_ONCE):
            if start:
                await self._pace.rest()
            portion = selection.ids[start : start + _IDS_AT_ONCE]
            which.update(dict.fromkeys(map(checked_id, portion)))
        return list(which)

    async def _counted(self, which: LetterFilter | Sequence[str]) -> Moved:
        """What would come of it now."""
        if isinstance(which, LetterFilter):
            count = await self._expensive.alone(partial(self._admin.count_letters, which))
            return Moved(count, [])
        missing = self._admin.missing_letters(which)
        return Moved(len(which) - len(missing), missing)


def _told(selection: Selection) -> Mapping[str, object]:
    """What was selected, as the audit tells it."""
    if selection.ids is not None:
        return ids(selection.ids)
    return selection.model_dump(exclude_none=True, exclude_defaults=True)


def _all(moved: Moved) -> Moved:
    """What was asked for by its id must have been there, and readable."""
    for message_id in moved.not_found:
        raise _unknown(message_id)
    for message_id in moved.failed:
        raise _damaged(message_id)
    for message_id in moved.unserved:
        raise _unserved(message_id)
    return moved


def _unknown(message_id: str) -> ApiError:
    return ApiError(
        404,
        "dead_letter_unknown",
        f"{message_id} is no dead letter: it never died, or was redriven or purged before.",
    )


def _unserved(call_id: str) -> ApiError:
    return ApiError(
        409,
        "function_service_missing",
        f"{call_id} is a function call, and this server has no function service: redrive it where "
        "there is one.",
    )


def _damaged(message_id: str) -> ApiError:
    return ApiError(
        500,
        "dead_letter_damaged",
        f"{message_id} cannot be read: the disk gives back something else than was written. "
        "`dispatcher log verify` says where.",
    )
