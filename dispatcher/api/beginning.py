"""What the API says while the log is being read: it is there from the first second of a start."""

from __future__ import annotations

from collections.abc import Callable, Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.api.errors import ApiError
from dispatcher.api.health import Health


def beginning_middleware(
    health: Callable[[], Health], *, open_paths: Collection[str]
) -> Middleware:
    """Make the middleware that answers 503 everywhere except at `open_paths` until there is
    something to be asked."""

    @web.middleware
    async def wait_for_start(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in open_paths:
            now = health()
            if now.reason is not None and not now.is_begun:
                raise ApiError(503, now.reason, now.message, headers={"Retry-After": "1"})
        return await handler(request)

    return wait_for_start
