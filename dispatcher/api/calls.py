"""Calls about function calls: `/v1/calls`.

An application, whose key has the role `dispatch`, sees and ends its own and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, assert_never

from aiohttp import web
from pydantic import TypeAdapter

from dispatcher.api.answers import response
from dispatcher.api.audit import Action, Audit
from dispatcher.api.auth import only
from dispatcher.api.call_models import (
    ByCallId,
    Call,
    CallExplanation,
    CallQuery,
    Calls,
    CallTimeline,
    CallTree,
    CallWithTree,
    CancelQuery,
    Pending,
    Result,
    ResultQuery,
    ShowQuery,
    TimelineEntry,
    unknown,
)
from dispatcher.api.errors import ApiError
from dispatcher.api.expensive import Expensive, Pieces
from dispatcher.api.models import DEFERRED, Nothing
from dispatcher.api.portions import filled
from dispatcher.api.routes import MAY_ACT, MAY_LOOK, TOO_MANY_ASK, AnyRoute, Asked, Route
from dispatcher.api.staying import Stays, unless_gone
from dispatcher.api.streaming import send_pieces
from dispatcher.functions.shown import CallView
from dispatcher.functions.surface import Cancelled, CancelMode, Functions, NoResult, ResultView
from dispatcher.queue.admin.pace import Pace

_ROOT: Final = "/v1/calls"
_UNKNOWN: Final = {404: "No such call, or another application's: `call_unknown`."}
_PROTO: Final = "application/proto"
_ITEMS: Final = TypeAdapter(list[Call], config=DEFERRED)
_ENTRIES: Final = TypeAdapter(list[TimelineEntry], config=DEFERRED)
_AT_ONCE_BYTES: Final = 16 * 1024
_NODES: Final = '"nodes":['
_SMALL_TREE: Final = 200
"""Calls of a tree that is shown to whoever asks, like a call alone: it takes a millisecond."""


class FunctionCalls:
    """Look at calls, wait for their results, and end them."""

    def __init__(
        self,
        functions: Functions,
        expensive: Expensive,
        pace: Pace,
        audit: Audit,
        *,
        stays: Stays,
    ) -> None:
        self._functions = functions
        self._stays = stays
        self._expensive = expensive
        self._pace = pace
        self._audit = audit

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", _ROOT, self._list, "listCalls", "Function calls, the newest first",
                Nothing, CallQuery, Nothing, answer=Calls, refusals=TOO_MANY_ASK, roles=MAY_LOOK,
            ),
            Route(
                "GET", f"{_ROOT}/{{id}}", self._show, "showCall",
                "One call, and all under it",
                ByCallId, ShowQuery, Nothing, answer=CallWithTree,
                refusals={**_UNKNOWN, **TOO_MANY_ASK}, roles=MAY_LOOK,
            ),
            Route(
                "GET", f"{_ROOT}/{{id}}/tree", self._tree, "showCallTree",
                "The tree of a call alone",
                ByCallId, Nothing, Nothing, answer=CallTree, refusals={**_UNKNOWN, **TOO_MANY_ASK},
                roles=MAY_LOOK,
            ),
            Route(
                "GET", f"{_ROOT}/{{id}}/explain", self._explain, "explainCall",
                "The one reason why a call has not ended yet",
                ByCallId, Nothing, Nothing, answer=CallExplanation, refusals=_UNKNOWN,
                roles=MAY_LOOK,
            ),
            Route(
                "GET", f"{_ROOT}/{{id}}/timeline", self._timeline, "showCallTimeline",
                "What happened to a call since the start of the server",
                ByCallId, Nothing, Nothing, answer=CallTimeline, refusals=_UNKNOWN, roles=MAY_LOOK,
            ),
            Route(
                "GET", f"{_ROOT}/{{id}}/result", self._result, "showResult",
                "What a call came to, as JSON or, if that is accepted, a CallResult in protobuf",
                ByCallId, ResultQuery, Nothing, answer=Result, roles=MAY_LOOK,
                also={202: (Pending, "It has not ended yet.")},
                refusals={410: "Its result is no longer kept: `result_expired`.", **_UNKNOWN},
            ),
            Route(
                "DELETE", f"{_ROOT}/{{id}}", self._cancel, "cancelCall", "End a call",
                ByCallId, CancelQuery, Nothing, status=202, roles=MAY_ACT,
                refusals={409: "It has ended: `call_ended`.", **_UNKNOWN},
            ),
        ]  # fmt: skip

    async def _list(self, asked: Asked[Nothing, CallQuery, Nothing]) -> web.StreamResponse:
        pieces = await self._expensive.alone(partial(self._written_page, asked.query))
        return await send_pieces(asked.request, pieces)

    async def _written_page(self, query: CallQuery) -> Pieces:
        page = await self._functions.calls(
            query.filter(), limit=query.limit, cursor=query.cursor, only=only()
        )
        calls = Calls.of(page.next_cursor)
        return await filled(calls, '"items":[', page.items, _ITEMS, pace=self._pace)

    async def _show(self, asked: Asked[ByCallId, ShowQuery, Nothing]) -> web.StreamResponse:
        call = await self._functions.call(asked.place.id, only=only())
        if call is None:
            raise unknown(asked.place.id)
        if asked.query.tree == "false":
            return response(CallWithTree.of(call, None))
        write = partial(self._written_call, call)
        if self._functions.tree_size(call) > _SMALL_TREE:
            return await send_pieces(asked.request, await self._expensive.alone(write))
        return await send_pieces(asked.request, await write())

    async def _written_call(self, call: CallView) -> Pieces:
        tree = await self._functions.tree(call.id, only=only())
        if tree is None:
            raise unknown(call.id)
        shown = CallWithTree.of(call, tree)
        return await filled(shown, _NODES, tree.nodes, _ITEMS, pace=self._pace)

    async def _tree(self, asked: Asked[ByCallId, Nothing, Nothing]) -> web.StreamResponse:
        pieces = await self._expensive.alone(partial(self._written_tree, asked.place.id))
        return await send_pieces(asked.request, pieces)

    async def _written_tree(self, call_id: str) -> Pieces:
        tree = await self._functions.tree(call_id, only=only())
        if tree is None:
            raise unknown(call_id)
        return await filled(CallTree.of(tree), _NODES, tree.nodes, _ITEMS, pace=self._pace)

    async def _explain(self, asked: Asked[ByCallId, Nothing, Nothing]) -> CallExplanation:
        explanation = await self._functions.explain(asked.place.id, only=only())
        if explanation is None:
            raise unknown(asked.place.id)
        return CallExplanation.model_validate(explanation)

    async def _timeline(self, asked: Asked[ByCallId, Nothing, Nothing]) -> web.StreamResponse:
        timeline = await self._functions.timeline(asked.place.id, only=only())
        if timeline is None:
            raise unknown(asked.place.id)
        pieces = await filled(
            CallTimeline.of(timeline), '"entries":[', timeline.entries, _ENTRIES, pace=self._pace
        )
        return await send_pieces(asked.request, pieces)

    async def _result(self, asked: Asked[ByCallId, ResultQuery, Nothing]) -> web.StreamResponse:
        call_id = asked.place.id
        wait_s = asked.query.wait / 1000
        finding = self._functions.result(call_id, wait_s=wait_s, only=only())
        if wait_s:
            staying = self._stays(asked.request, wait_s)
            found = await unless_gone(finding, staying, NoResult.NOT_YET)
        else:
            found = await finding
        match found:
            case ResultView():
                if _PROTO in asked.request.headers.get("Accept", ""):
                    return web.Response(body=found.result, content_type=_PROTO)
                return response(await _as_json(found))
            case NoResult.NOT_YET:
                return response(Pending(id=call_id), 202)
            case NoResult.EXPIRED:
                raise ApiError(
                    410, "result_expired", f"Call {call_id} ended; its result is no longer kept."
                )
            case NoResult.UNKNOWN:
                raise unknown(call_id)
            case _:
                assert_never(found)

    async def _cancel(self, asked: Asked[ByCallId, CancelQuery, Nothing]) -> None:
        call_id, mode = asked.place.id, CancelMode(asked.query.mode)
        selection = {"id": call_id, "mode": mode.value}
        with self._audit.acting(Action.CALL_CANCELLED, selection) as told:
            outcome = await self._functions.cancel(call_id, mode, only=only())
            told.count = int(outcome is Cancelled.DONE)
        match outcome:
            case Cancelled.DONE:
                return
            case Cancelled.UNKNOWN:
                raise unknown(call_id)
            case Cancelled.ENDED:
                raise ApiError(409, "call_ended", f"Call {call_id} has ended.")
            case _:
                assert_never(outcome)


async def _as_json(view: ResultView) -> Result:
    """A large one in a thread: others go on meanwhile."""
    if len(view.result) > _AT_ONCE_BYTES:
        return await asyncio.to_thread(Result.of, view)
    return Result.of(view)
