"""Waiting on behalf of somebody who may hang up: who is gone waits no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from aiohttp import web

Stays: TypeAlias = Callable[[web.Request, float], Awaitable[bool]]
"""Waits for so many seconds and says whether a request's connection is still there: at once when it
goes."""

_Found = TypeVar("_Found")


async def unless_gone(
    asking: Coroutine[Any, Any, _Found], staying: Awaitable[bool], otherwise: _Found
) -> _Found:
    """What `asking` comes to; `otherwise` when who asks has hung up before: then it is cancelled.
    `staying` is to be true once it has had its time."""
    asked, watched = asyncio.ensure_future(asking), asyncio.ensure_future(staying)
    try:
        await asyncio.wait((asked, watched), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done() and not watched.result():
            return otherwise
        return await asked
    finally:
        for task in (asked, watched):
            task.cancel()
