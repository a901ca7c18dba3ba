"""Calls about dead letters: `/v1/dead-letters`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from aiohttp import web
from pydantic import TypeAdapter

from dispatcher.api import cursor
from dispatcher.api.audit import Action, Audit
from dispatcher.api.bodies import BYTES, BodyQuery, send_body
from dispatcher.api.curl import TEXT, curl_of
from dispatcher.api.editing import Edits, Wanted
from dispatcher.api.errors import ApiError
from dispatcher.api.expensive import Expensive, Pieces
from dispatcher.api.fields import rate_of
from dispatcher.api.full_letter import send_letter
from dispatcher.api.jobs.calls import CANCELLED, JOB_BEGUN
from dispatcher.api.jobs.job import JobKind
from dispatcher.api.jobs.running import Jobs
from dispatcher.api.letter_models import (
    FullLetter,
    Group,
    GroupQuery,
    Groups,
    Letter,
    LetterQuery,
    Letters,
    LetterShown,
    Purged,
    PurgeRequest,
    RedriveEdit,
    Redriven,
    RedriveRequest,
    Selection,
)
from dispatcher.api.masking import Headers, Revealing
from dispatcher.api.models import DEFERRED, ById, Nothing
from dispatcher.api.portions import filled
from dispatcher.api.routes import JSON, TOO_MANY_ASK, Answer, AnyRoute, Asked, Route
from dispatcher.api.selectors import as_told, each_once
from dispatcher.api.streaming import send_pieces
from dispatcher.errors import LogCorrupt
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import (
    Admin,
    Course,
    LetterDetail,
    LetterFilter,
    LetterGone,
    Moved,
)

_ROOT = "/v1/dead-letters"
_UNKNOWN = {404: "It is no dead letter, or not any more: `dead_letter_unknown`."}
_UNSERVED = {
    409: "It is a call, and this server has no function service: `function_service_missing`; or "
    "something of it was to be changed: `call_not_editable`."
}
_ITEMS: Final = TypeAdapter(list[Letter], config=DEFERRED)
_GROUPS: Final = TypeAdapter(list[Group], config=DEFERRED)


class LetterCalls:
    """Look at dead letters, redrive and purge them."""

    def __init__(
        self,
        admin: Admin,
        expensive: Expensive,
        pace: Pace,
        audit: Audit,
        jobs: Jobs,
        headers: Headers,
        edits: Edits,
    ) -> None:
        self._admin = admin
        self._edits = edits
        self._audit = audit
        self._jobs = jobs
        self._expensive = expensive
        self._pace = pace
        self._headers = headers

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table. The fixed paths are before those with an id."""
        return [
            Route(
                "GET", _ROOT, self._list, "listDeadLetters", "Dead letters, oldest first",
                Nothing, LetterQuery, Nothing, answer=Letters, refusals=TOO_MANY_ASK,
            ),
            Route(
                "GET", f"{_ROOT}/groups", self._group, "groupDeadLetters",
                "How many dead letters there are, by destination and last error",
                Nothing, GroupQuery, Nothing, answer=Groups, refusals=TOO_MANY_ASK,
            ),
            Route(
                "POST", f"{_ROOT}/redrive", self._redrive, "redriveDeadLetters",
                "Make those selected ready again; the answer comes when the last one is",
                Nothing, Nothing, RedriveRequest, answer=Redriven, also=JOB_BEGUN,
                refusals=CANCELLED,
            ),
            Route(
                "POST", f"{_ROOT}/purge", self._purge, "purgeDeadLetters",
                "Remove those selected for good",
                Nothing, Nothing, PurgeRequest, answer=Purged, also=JOB_BEGUN,
                refusals=CANCELLED,
            ),
            Route(
                "GET", f"{_ROOT}/{{id}}", self._show, "showDeadLetter",
                "One dead letter with request, body and every attempt",
                ById, LetterShown, Nothing, answer=FullLetter, refusals=_UNKNOWN,
            ),
            Route(
                "GET", f"{_ROOT}/{{id}}/body", self._send_body, "getDeadLetterBody",
                "Its body as it is, or the beginning of it",
                ById, BodyQuery, Nothing, content_type=BYTES, refusals=_UNKNOWN,
            ),
            Route(
                "GET", f"{_ROOT}/{{id}}/curl", self._as_curl, "getDeadLetterAsCurl",
                "A command of curl that repeats its request",
                ById, Revealing, Nothing, content_type=TEXT,
                refusals={**_UNKNOWN, 409: "It is a function call: `call_not_repeatable`."},
            ),
            Route(
                "POST", f"{_ROOT}/{{id}}/redrive", self._redrive_one, "redriveDeadLetter",
                "Make one ready again under the same id, attempts from 1",
                ById, Nothing, RedriveEdit, status=202, answer=Redriven, streams=JSON,
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
        letters = Letters.of(page.next_cursor, page.incomplete)
        return await filled(letters, '"items":[', page.items, _ITEMS, pace=self._pace)

    async def _group(self, asked: Asked[Nothing, GroupQuery, Nothing]) -> web.StreamResponse:
        which = asked.query.filter()
        pieces = await self._expensive.shared(
            ("groups", which), partial(self._written_groups, which)
        )
        return await send_pieces(asked.request, pieces)

    async def _written_groups(self, which: LetterFilter) -> Pieces:
        found = await self._admin.letter_groups(which)
        groups = Groups(items=[], total=found.total, incomplete=[*found.incomplete])
        return await filled(groups, '"items":[', found.items, _GROUPS, pace=self._pace)

    async def _show(
        self, asked: Asked[ById, LetterShown, Nothing]
    ) -> FullLetter | web.StreamResponse:
        detail = await self._found(asked.place.id)
        of = {"id": asked.place.id}
        headers = self._headers.shown(asked.request, detail.headers, asked.query, of=of)
        if asked.query.body == "false":
            return FullLetter.of(detail, headers).model_copy(update={"body": None})
        return await send_letter(asked.request, detail, headers, self._pace)

    async def _send_body(self, asked: Asked[ById, BodyQuery, Nothing]) -> web.StreamResponse:
        detail = await self._found(asked.place.id)
        return await send_body(
            asked.request,
            detail.body,
            asked.query,
            self._pace,
            of=asked.place.id,
            size_bytes=detail.letter.size_bytes,
        )

    async def _as_curl(self, asked: Asked[ById, Revealing, Nothing]) -> web.Response:
        detail = await self._found(asked.place.id)
        if detail.call is not None:
            raise ApiError(
                409,
                "call_not_repeatable",
                f"{asked.place.id} is a function call, whose runs are signed: redrive it instead.",
            )
        lines = detail.headers
        of = {"id": asked.place.id}
        headers = self._headers.shown(asked.request, lines, asked.query, of=of)
        is_masked = asked.query.reveal == "false" and self._headers.masking.has_secret(lines)
        try:
            text = await curl_of(detail, headers, is_masked=is_masked)
        except LetterGone as error:
            raise _unknown(asked.place.id) from error
        return web.Response(text=text, content_type=TEXT)

    async def _found(self, message_id: str) -> LetterDetail:
        try:
            detail = await self._admin.letter(message_id)
        except LogCorrupt as error:
            raise _damaged(message_id) from error
        if detail is None:
            raise _unknown(message_id)
        return detail

    async def _redrive_one(self, asked: Asked[ById, Nothing, RedriveEdit]) -> Redriven:
        letter_id = asked.place.id
        async with self._edits.read(asked.request) as wanted:
            if wanted.parts:
                return Redriven.of(_all(await self._redrive_edited(letter_id, wanted)))
        with self._audit.acting(Action.REDRIVEN, {"id": letter_id}) as told:
            moved = await self._admin.redrive([letter_id])
            told.count = moved.count
        return Redriven.of(_all(moved))

    async def _redrive_edited(self, letter_id: str, wanted: Wanted) -> Moved:
        """Redrive a letter changed. Told is which parts, and not to what, but for the
        destination."""
        detail = await self._found(letter_id)
        if detail.call is not None:
            raise ApiError(
                409,
                "call_not_editable",
                f"{letter_id} is a function call: it is redriven as it is, without a body.",
            )
        edit = self._edits.applied(wanted, detail)
        selection: dict[str, object] = {"id": letter_id, "edited": wanted.parts}
        if edit.destination is not None:
            selection["to"] = str(edit.destination)
        with self._audit.acting(Action.REDRIVEN, selection) as told:
            moved = await self._admin.redrive_edited(letter_id, edit)
            told.count = moved.count
        return moved

    async def _purge_one(self, asked: Asked[ById, Nothing, Nothing]) -> None:
        with self._audit.acting(Action.PURGED, {"id": asked.place.id}) as told:
            moved = await self._admin.purge([asked.place.id])
            told.count = moved.count
        _all(moved)

    async def _redrive(self, asked: Asked[Nothing, Nothing, RedriveRequest]) -> Answer:
        body = asked.body
        which = await self._which(body)
        if body.dry_run:
            return Redriven.of(await self._counted(which))

        async def work(course: Course) -> Redriven:
            return Redriven.of(await self._admin.redrive(which, course=course))

        rate = None if body.rate is None else rate_of(body.rate)
        job = self._jobs.begin(
            JobKind.REDRIVE, Action.REDRIVEN, _told(body), work, course=Course(rate)
        )
        return await self._jobs.answer(asked.request, job)

    async def _purge(self, asked: Asked[Nothing, Nothing, PurgeRequest]) -> Answer:
        body = asked.body
        which = await self._which(body)
        if body.dry_run:
            return Purged.of(await self._counted(which))

        async def work(course: Course) -> Purged:
            return Purged.of(await self._admin.purge(which, course=course))

        job = self._jobs.begin(JobKind.PURGE, Action.PURGED, _told(body), work)
        return await self._jobs.answer(asked.request, job)

    async def _which(self, selection: Selection) -> LetterFilter | Sequence[str]:
        """What was selected, as the queue understands it; each id once, in the caller's order.

        Raises:
            ApiError: 400, one is no id.
        """
        if selection.ids is None:
            return selection.filter()
        return await each_once(selection.ids, self._pace)

    async def _counted(self, which: LetterFilter | Sequence[str]) -> Moved:
        """What would come of it now."""
        if isinstance(which, LetterFilter):
            count = await self._expensive.alone(partial(self._admin.count_letters, which))
            return Moved(count, [])
        missing = await self._admin.missing_letters(which)
        return Moved(len(which) - len(missing), missing)


def _told(selection: Selection) -> Mapping[str, object]:
    return as_told(selection.ids, selection)


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
