"""Requests of aiohttp's server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.serving.ports import Handler
from dispatcher.sdk.serving.requests import body_size, is_run

if TYPE_CHECKING:
    from aiohttp import web


async def answered(handler: Handler, request: web.BaseRequest) -> web.Response:
    """Read a request and have it answered. Its body is read past `client_max_size`, which is 1 MiB
    where nobody says more."""
    from aiohttp import web

    method, path = request.method, request.raw_path
    headers = list(request.headers.items())
    size = body_size(headers) if is_run(method, path) else 0
    if isinstance(size, Answer):
        answer = size
    else:
        body = await request.content.readexactly(size) if size else b""
        answer = await handler.handle(method, path, headers, body)
    return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)
