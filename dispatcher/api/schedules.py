"""Calls about schedules: `/v1/schedules`.

An application, whose key has the role `dispatch`, has its own, and sees no others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, assert_never

from aiohttp import web

from dispatcher.api.answers import response
from dispatcher.api.audit import Action, Audit
from dispatcher.api.auth import application, only
from dispatcher.api.errors import ApiError
from dispatcher.api.masking import Headers, Line
from dispatcher.api.models import Nothing
from dispatcher.api.routes import MAY_ACT, MAY_LOOK, AnyRoute, Asked, Route
from dispatcher.api.schedule_models import (
    ByScheduleName,
    Firing,
    Pairs,
    Schedule,
    ScheduleIn,
    ScheduleQuery,
    Schedules,
    ScheduleShown,
)
from dispatcher.functions.schedules.calls import check_call
from dispatcher.ingress.planned import check_message
from dispatcher.schedules import surface
from dispatcher.schedules.plans import Plan, PlannedCall, PlannedMessage
from dispatcher.schedules.surface import ScheduleInvalid

_ROOT: Final = "/v1/schedules"
_ONE: Final = f"{_ROOT}/{{name}}"
_UNKNOWN: Final = {404: "No such schedule of that application: `schedule_unknown`."}

_NO_PLACES: Final = (".", "..")
"""Clients shorten paths with them before they ask, so that nobody could get at such a schedule."""

_Named = Asked[ByScheduleName, ScheduleQuery, Nothing]


class ScheduleCalls:
    """Make schedules, look at them, run, pause and delete them."""

    def __init__(self, schedules: surface.Schedules, audit: Audit, headers: Headers) -> None:
        self._schedules = schedules
        self._audit = audit
        self._headers = headers

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", _ROOT, self._list, "listSchedules", "All schedules",
                Nothing, ScheduleQuery, Nothing, answer=Schedules, roles=MAY_LOOK,
            ),
            Route(
                "GET", _ONE, self._show, "showSchedule", "One schedule, and what it made last",
                ByScheduleName, ScheduleShown, Nothing, answer=Schedule, refusals=_UNKNOWN,
                roles=MAY_LOOK,
            ),
            Route(
                "PUT", _ONE, self._put, "putSchedule", "Make a schedule, or change it",
                ByScheduleName, ScheduleQuery, ScheduleIn, answer=Schedule, roles=MAY_ACT,
                also={201: (Schedule, "It is new.")},
                refusals={
                    400: "Something of it is not possible: `schedule_invalid`.",
                    403: "A schedule of messages needs a key of an administrator: `key_forbidden`.",
                    409: f"There are {surface.MOST_SCHEDULES} already: `schedules_full`.",
                },
            ),
            Route(
                "DELETE", _ONE, self._delete, "deleteSchedule",
                "Forget a schedule; what it has made goes on",
                ByScheduleName, ScheduleQuery, Nothing, status=204, refusals=_UNKNOWN,
                roles=MAY_ACT,
            ),
            Route(
                "POST", f"{_ONE}/run", self._run, "runSchedule", "Make its call or message now",
                ByScheduleName, ScheduleQuery, Nothing, status=202, answer=Firing,
                refusals=_UNKNOWN, roles=MAY_ACT,
            ),
            Route(
                "POST", f"{_ONE}/pause", self._pause, "pauseSchedule", "Let it rest",
                ByScheduleName, ScheduleQuery, Nothing, answer=Schedule, refusals=_UNKNOWN,
                roles=MAY_ACT,
            ),
            Route(
                "POST", f"{_ONE}/resume", self._resume, "resumeSchedule",
                "Let it fire again, from now on",
                ByScheduleName, ScheduleQuery, Nothing, answer=Schedule, refusals=_UNKNOWN,
                roles=MAY_ACT,
            ),
        ]  # fmt: skip

    async def _list(self, asked: Asked[Nothing, ScheduleQuery, Nothing]) -> Schedules:
        whose = only() if asked.query.application is None else _owner(asked.query)
        return Schedules.of(await self._schedules.list(only=whose), self._masked)

    async def _show(self, asked: Asked[ByScheduleName, ScheduleShown, Nothing]) -> Schedule:
        owner, name = _owner(asked.query), asked.place.name
        view = await self._schedules.get(owner, name)
        if view is None:
            raise _unknown(owner, name)
        return Schedule.of(view, partial(self._shown, asked, _selection(owner, name)))

    def _shown(
        self,
        asked: Asked[ByScheduleName, ScheduleShown, Nothing],
        of: Mapping[str, object],
        headers: Pairs,
    ) -> Pairs:
        return tuple(self._headers.shown(asked.request, _lines(headers), asked.query, of=of))

    def _masked(self, headers: Pairs) -> Pairs:
        return tuple(map(self._headers.masking.masked, _lines(headers)))

    async def _restored(self, owner: str, name: str, what: PlannedMessage) -> PlannedMessage:
        """What is planned, with the stored value in place of each header that is masked as it was
        shown.

        Raises:
            ApiError: 400, one is masked, and it is not certain which value it stands for.
        """
        view = await self._schedules.get(owner, name)
        was = None if view is None else view.plan.what
        stored = _lines(was.headers) if isinstance(was, PlannedMessage) else []
        try:
            headers = self._headers.masking.restored(what.headers, stored)
        except ValueError as error:
            raise ApiError(400, "schedule_invalid", f"headers: {error}.") from error
        return replace(what, headers=tuple(headers))

    async def _put(
        self, asked: Asked[ByScheduleName, ScheduleQuery, ScheduleIn]
    ) -> web.StreamResponse:
        owner, name = _owner(asked.query), asked.place.name
        if name in _NO_PLACES:
            raise ApiError(
                400,
                "name_invalid",
                f"The name of a schedule cannot be `{name}`: clients take that for another path.",
            )
        plan = asked.body.plan()
        if isinstance(plan.what, PlannedMessage) and only() is not None:
            raise ApiError(
                403,
                "key_forbidden",
                "A schedule of messages needs a key with the role 'admin'.",
            )
        if isinstance(plan.what, PlannedMessage):
            plan = replace(plan, what=await self._restored(owner, name, plan.what))
        try:
            await asyncio.to_thread(_check, plan, time.time_ns() // 1000)
        except ScheduleInvalid as error:
            raise ApiError(400, "schedule_invalid", str(error)) from error
        with self._audit.acting(Action.SCHEDULE_SET, _selection(owner, name)) as told:
            view, is_new = await self._schedules.put(owner, name, plan)
            told.count = 1
        return response(Schedule.of(view, self._masked), 201 if is_new else 200)

    async def _delete(self, asked: _Named) -> None:
        owner, name = _owner(asked.query), asked.place.name
        with self._audit.acting(Action.SCHEDULE_DELETED, _selection(owner, name)) as told:
            is_gone = await self._schedules.delete(owner, name)
            told.count = int(is_gone)
        if not is_gone:
            raise _unknown(owner, name)

    async def _run(self, asked: _Named) -> Firing:
        owner, name = _owner(asked.query), asked.place.name
        with self._audit.acting(Action.SCHEDULE_RUN, _selection(owner, name)) as told:
            firing = await self._schedules.run(owner, name)
            told.count = int(firing is not None)
        if firing is None:
            raise _unknown(owner, name)
        return Firing.of(name, firing)

    async def _pause(self, asked: _Named) -> Schedule:
        return await self._set_paused(asked, paused=True)

    async def _resume(self, asked: _Named) -> Schedule:
        return await self._set_paused(asked, paused=False)

    async def _set_paused(self, asked: _Named, *, paused: bool) -> Schedule:
        owner, name = _owner(asked.query), asked.place.name
        selection = {**_selection(owner, name), "paused": paused}
        with self._audit.acting(Action.SCHEDULE_SET, selection) as told:
            view = await self._schedules.pause(owner, name, paused=paused)
            told.count = int(view is not None)
        if view is None:
            raise _unknown(owner, name)
        return Schedule.of(view, self._masked)


def _check(plan: Plan, now_us: int) -> None:
    surface.check(plan, 0)
    match plan.what:
        case PlannedCall():
            check_call(plan.what)
        case PlannedMessage():
            check_message(plan.what, now_us)
        case _:
            assert_never(plan.what)


def _owner(query: ScheduleQuery) -> str:
    """Whose schedule it is: of who asks, unless an operator says another."""
    if query.application is None:
        return application()
    if only() not in (None, query.application):
        raise ApiError(403, "key_forbidden", "With this key only its own schedules can be reached.")
    return query.application


def _lines(headers: Pairs) -> list[Line]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _selection(owner: str, name: str) -> dict[str, object]:
    return {"application": owner, "name": name}


def _unknown(owner: str, name: str) -> ApiError:
    whose = f" of the application {owner!r}" if owner else ""
    return ApiError(
        404,
        "schedule_unknown",
        f"There is no schedule {name}{whose}. The list of schedules has their names and "
        "applications; an operator names an application in `application`.",
    )
