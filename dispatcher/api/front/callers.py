"""Whose request it is that was passed on: the API sees the connection of the front."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from dispatcher.api.audit import caller
from dispatcher.api.front.heads import CLIENT


@web.middleware
async def caller_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Take the address of the caller from the front."""
    caller.set(request.headers.get(CLIENT.decode("ascii")))
    return await handler(request)
