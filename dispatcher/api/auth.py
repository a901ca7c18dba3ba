"""Who may use the API: `Authorization: Bearer KEY`, when keys are set."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.api.errors import ApiError
from dispatcher.core.keys import is_known


def key_middleware(keys: tuple[bytes, ...], *, open_paths: Collection[str]) -> Middleware:
    """Make the middleware that asks for a key everywhere except at `open_paths`.

    Paths that do not exist ask for one too, so that strangers cannot find out which do.
    """

    @web.middleware
    async def ask_for_key(request: web.Request, handler: Handler) -> web.StreamResponse:
        if keys and request.path not in open_paths and not is_known(_shown(request), keys):
            raise ApiError(
                401,
                "key_invalid",
                "Send one of the keys in API_KEYS as `Authorization: Bearer KEY`.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return await handler(request)

    return ask_for_key


def _shown(request: web.Request) -> bytes:
    """The key of a request; b"", which is none, where it shows no key or two."""
    values = request.headers.getall("Authorization", [])
    if len(values) != 1:
        return b""
    scheme, _, key = values[0].partition(" ")
    # aiohttp reads headers in this way; turned around, every byte is as it came.
    return key.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""
