"""Who may use the API: `Authorization: Bearer KEY`, when keys are set."""

from __future__ import annotations

import hmac
from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.api.errors import ApiError


def key_middleware(keys: tuple[bytes, ...], *, open_paths: Collection[str]) -> Middleware:
    """Make the middleware that asks for a key everywhere except at `open_paths`.

    Paths that do not exist ask for one too, so that strangers cannot find out which do.
    """

    @web.middleware
    async def ask_for_key(request: web.Request, handler: Handler) -> web.StreamResponse:
        if keys and request.path not in open_paths and not is_valid(_shown(request), keys):
            raise ApiError(
                401,
                "key_invalid",
                "Send one of the keys in API_KEYS as `Authorization: Bearer KEY`.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return await handler(request)

    return ask_for_key


def is_valid(shown: bytes | None, keys: tuple[bytes, ...]) -> bool:
    """Say whether a key is one of `keys`, in a time that does not depend on how much is right."""
    found = False
    for key in keys:  # all of them: leaving early would tell which one it was
        found |= hmac.compare_digest(shown or b"", key)
    return found


def _shown(request: web.Request) -> bytes | None:
    values = request.headers.getall("Authorization", [])
    if len(values) != 1:
        return None
    scheme, _, key = values[0].partition(" ")
    # aiohttp reads headers in this way; turned around, every byte is as it came.
    return key.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else None
