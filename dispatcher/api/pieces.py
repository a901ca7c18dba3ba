"""A request's body as it comes, for handlers that read it by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

from aiohttp import web

from dispatcher.api.errors import ApiError
from dispatcher.api.unpacking import unpacked
from dispatcher.ingress.pace import Pace

_SILENCE_SECONDS: Final = 30.0


class Content(Protocol):
    """A body on its way in, as aiohttp has it."""

    async def readany(self) -> bytes:
        """What is there, or comes next; empty at the end."""


def pieces(content: Content, coding: str = "") -> AsyncIterator[bytes]:
    """A body as it comes, its `coding` (`unpacking.coding_of`) undone. The time in which nobody
    reads it does not count.

    Raises:
        ApiError: it stopped arriving or comes too slowly, was cut short, or is coded otherwise.
    """
    came = _as_it_comes(content)
    return unpacked(came) if coding else came


async def _as_it_comes(content: Content) -> AsyncIterator[bytes]:
    now_s = asyncio.get_running_loop().time
    pace = Pace(_SILENCE_SECONDS, now_s())
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                data = await content.readany()
        except TimeoutError:
            raise ApiError(408, "body_timeout", "The body stopped arriving.") from None
        except (web.RequestPayloadError, OSError):
            raise ApiError(400, "body_invalid", "The body was cut short.") from None
        if not data:
            return
        pace.took(len(data), now_s())
        if pace.is_late(now_s()):
            raise ApiError(408, "body_timeout", "The body arrives too slowly.")
        pace.rest(now_s())
        yield data
        pace.go_on(now_s())
