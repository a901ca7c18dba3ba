"""What the API does not say where another node may have by now what it speaks for.

A node that hung, or hears nothing of its cluster, does not know whether it still has partition 0,
and with it calls, schedules and the messages of its other partitions. What it finds it shows; that
something is not there it does not say: it may have come since, elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.api.errors import ApiError
from dispatcher.errors import Refused
from dispatcher.queue.refusals import MOVED


def still_here_middleware(is_here: Callable[[], bool]) -> Middleware:
    """Make the middleware that answers 503 `moved` in place of 404 then; `is_here` says whether
    nobody else can have it."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND and not is_here():
                raise Refused(MOVED) from error
            raise

    return check
