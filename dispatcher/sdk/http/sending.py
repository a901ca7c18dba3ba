"""The function that makes requests: a plain one, which every application has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from dispatcher.protocol.statuses import Then
from dispatcher.sdk.errors import status_of_code
from dispatcher.sdk.errors.retrying import seconds_of
from dispatcher.sdk.exceptions import PermanentError
from dispatcher.sdk.functions.current import current
from dispatcher.sdk.functions.decorator import function
from dispatcher.sdk.http.request import Request
from dispatcher.sdk.http.response import Response, error_of

if TYPE_CHECKING:
    import aiohttp

MOST_BYTES: Final = 11_000_000
"""Of an answer: written in base64, and with its headers, it has to fit in the 16 MB of a result."""

_REPEATABLE: Final = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")


@function(name="dispatch.http", durable=False)
async def send(request: Request) -> Response:
    """Make a request; what may be better the next time is raised, and so tried again.

    A request that is not idempotent by its method has an `Idempotency-Key`, the call's id, unless
    its caller gave one: it is the same in every try.
    """
    import aiohttp

    # A session, and so a connection, for each: what is kept open would belong to the loop.
    async with (
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=request.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session,
        session.request(
            request.method,
            request.url,
            headers=_headers(request),
            data=request.body or None,
            allow_redirects=request.follow_redirects,
        ) as answer,
    ):
        if status_of_code(answer.status).then is Then.RETRY:
            asked_for = seconds_of(answer.headers.get("Retry-After", ""), time.time())
            raise error_of(answer.status, request.shown, asked_for)
        body = await _body(answer, request)
    return Response(answer.status, _joined(answer), body, request_url(answer))


def request_url(answer: aiohttp.ClientResponse) -> str:
    """Where an answer came from, without a password that its URL had."""
    return str(answer.url.with_user(None))


def _headers(request: Request) -> dict[str, str]:
    has_key = any(name.lower() == "idempotency-key" for name in request.headers)
    if request.method in _REPEATABLE or has_key:
        return request.headers
    return {**request.headers, "Idempotency-Key": current().id}


async def _body(answer: aiohttp.ClientResponse, request: Request) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > MOST_BYTES:
            raise PermanentError(
                f"{request.shown} answered more than {MOST_BYTES:,} bytes, which is too much for a "
                "result: fetch it in a function of yours, store it, and return where it is"
            )
        pieces.append(piece)
    return b"".join(pieces)


def _joined(answer: aiohttp.ClientResponse) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in answer.headers.items():
        name = name.lower()
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
