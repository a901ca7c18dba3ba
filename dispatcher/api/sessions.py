"""Requests that applications fetch, and what they answer (the bridge of the Dispatch protocol).

    GET     wait for a request: 200 with `X-Request-Id`, and the request in the body; 504: none came
    POST    the response to the request that `X-Request-ID` names is the body: 202
    DELETE  there will be none: 200

Requests and responses are HTTP/1.1 as it would be on a connection. Whoever hangs up before a
request was written has not fetched it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from dispatcher.api.auth import application
from dispatcher.api.call_models import BySession
from dispatcher.api.errors import ApiError
from dispatcher.api.models import Nothing
from dispatcher.api.patience import in_time
from dispatcher.api.room import BodyRoom
from dispatcher.api.routes import MAY_ACT, AnyRoute, Asked, Route
from dispatcher.api.staying import Stays
from dispatcher.api.streaming import begun
from dispatcher.core.answer import Answer
from dispatcher.delivery.serialized import OVERHEAD_BYTES, read_response
from dispatcher.functions.bridge.sessions import Fetched, Sessions
from dispatcher.functions.limits import MOST_RUN_BYTES

TIMEOUT_HEADER: Final = "Request-Timeout"
ID_HEADER: Final = "X-Request-Id"
CONTENT_TYPE: Final = "message/http"
DEFAULT_WAIT_S: Final = 30.0
LONGEST_WAIT_S: Final = 60.0

_PATH: Final = "/sessions/{session}"
_SECONDS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_AT_ONCE_BYTES: Final = 256 * 1024
_UNKNOWN: Final = {
    404: "Nobody waits for an answer to this request: `request_unknown`.",
}


class SessionCalls:
    """`stays` waits for so many seconds and says whether a request's connection is still there: at
    once when it goes. At most `most` may wait for requests at once."""

    def __init__(
        self,
        sessions: Sessions,
        room: BodyRoom,
        stays: Stays,
        *,
        most: int,
    ) -> None:
        self._sessions = sessions
        self._room = room
        self._stays = stays
        self._most = most
        self._fetching: set[asyncio.Task[Fetched | None]] = set()

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "GET", _PATH, self._fetch, "fetchRequest",
                "Wait for a request to the application of this session",
                BySession, Nothing, Nothing, content_type=CONTENT_TYPE, roles=MAY_ACT,
                refusals={
                    503: "Too many wait: `too_many_polls`.",
                    504: "There is none: `nothing_to_do`; ask again.",
                },
            ),
            Route(
                "POST", _PATH, self._answer, "answerRequest",
                "Send the response to a request that was fetched",
                BySession, Nothing, Nothing, status=202, streams=CONTENT_TYPE, roles=MAY_ACT,
                refusals=_UNKNOWN,
            ),
            Route(
                "DELETE", _PATH, self._give_up, "giveUpRequest",
                "Say that there will be no response",
                BySession, Nothing, Nothing, roles=MAY_ACT, refusals=_UNKNOWN,
            ),
        ]  # fmt: skip

    def close(self) -> None:
        """Let everybody go who waits: the server stops. Idempotent."""
        for fetching in self._fetching:
            fetching.cancel()

    async def _fetch(self, asked: Asked[BySession, Nothing, Nothing]) -> web.StreamResponse:
        request, session = asked.request, asked.place.session
        wait_s = _wait_s(request)
        if request.method == "HEAD":
            return web.Response()
        fetched = await self._fetched(request, session, wait_s)
        if fetched is None:
            raise ApiError(504, "nothing_to_do", "There is no request for this session; ask again.")
        return await self._hand_over(request, session, fetched)

    async def _fetched(self, request: web.Request, session: str, wait_s: float) -> Fetched | None:
        """Wait for a request, for as long as somebody is there to read it."""
        if len(self._fetching) >= self._most:
            raise ApiError(
                503,
                "too_many_polls",
                f"{self._most} wait for requests already; ask again when one has gone.",
                headers={"Retry-After": "10"},
            )
        fetching = asyncio.ensure_future(
            self._sessions.fetch(application(), session, wait_s=wait_s)
        )
        watching = asyncio.ensure_future(self._stays(request, wait_s))
        self._fetching.add(fetching)
        try:
            await asyncio.wait((fetching, watching), return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and watching.result():
                await asyncio.wait((fetching,))  # its time is over too
            if not fetching.done() or fetching.cancelled():
                return None
            return fetching.result()
        except asyncio.CancelledError:
            if fetching.done() and not fetching.cancelled() and not fetching.exception():
                self._give_back(session, fetching.result())
            raise
        finally:
            watching.cancel()
            fetching.cancel()
            self._fetching.discard(fetching)

    async def _hand_over(
        self, request: web.Request, session: str, fetched: Fetched
    ) -> web.StreamResponse:
        """Write a request, all of it, or give it back."""
        response = web.StreamResponse(headers={ID_HEADER: fetched.id, "Content-Type": CONTENT_TYPE})
        response.content_length = len(fetched.head) + len(fetched.body)
        is_written = False
        try:
            async with begun(request, response):
                await _write(request, response, fetched)
                is_written = True
        finally:
            if not is_written:
                self._give_back(session, fetched)
        return response

    def _give_back(self, session: str, fetched: Fetched | None) -> None:
        if fetched is not None:
            self._sessions.give_back(application(), session, fetched.id)

    async def _answer(self, asked: Asked[BySession, Nothing, Nothing]) -> None:
        request, session = asked.request, asked.place.session
        request_id = _request_id(request)
        async with self._room.body(request, MOST_RUN_BYTES + OVERHEAD_BYTES) as body:
            came = await _read(body)
            is_known = await self._sessions.answer(application(), session, request_id, came)
        if not is_known:
            raise _unknown(request_id)
        if isinstance(came, str):
            raise ApiError(400, "body_invalid", f"The body is no HTTP response: {came}.")

    async def _give_up(self, asked: Asked[BySession, Nothing, Nothing]) -> None:
        request_id = _request_id(asked.request)
        if not self._sessions.give_up(application(), asked.place.session, request_id):
            raise _unknown(request_id)


def _wait_s(request: web.Request) -> float:
    """For how long to wait: a little less than who asks does, so that the answer comes in time."""
    said = request.headers.get(TIMEOUT_HEADER)
    if said is None:
        timeout_s = DEFAULT_WAIT_S
    elif _SECONDS.fullmatch(said.strip()):
        timeout_s = float(said)
    else:
        raise ApiError(400, "parameter_invalid", f"{TIMEOUT_HEADER}: seconds are expected.")
    return in_time(min(timeout_s, LONGEST_WAIT_S))


def _request_id(request: web.Request) -> str:
    values = request.headers.getall(ID_HEADER, [])
    if len(values) != 1:
        raise ApiError(400, "parameter_invalid", f"{ID_HEADER}: once, as it came with the request.")
    return values[0]


def _unknown(request_id: str) -> ApiError:
    return ApiError(
        404, "request_unknown", f"Nobody waits for an answer to request {request_id[:64]!r}."
    )


async def _read(body: bytes) -> Answer | str:
    if len(body) > _AT_ONCE_BYTES:
        return await asyncio.to_thread(read_response, body, MOST_RUN_BYTES)
    return read_response(body, MOST_RUN_BYTES)


async def _write(request: web.Request, response: web.StreamResponse, fetched: Fetched) -> None:
    """Returns when nothing of it is left in this process.

    Raises:
        ConnectionError: the other side has gone before.
    """
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    transport.set_write_buffer_limits(high=0)
    try:
        await response.write(fetched.head)
        if fetched.body:
            await response.write(fetched.body)
        await request.writer.drain()
    finally:
        transport.set_write_buffer_limits()
    if transport.is_closing():
        raise ConnectionResetError
