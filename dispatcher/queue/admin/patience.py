"""Reading for operators, who can wait: what is lacking for a while is asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from dispatcher.errors import LogBusy
from dispatcher.queue.bodies.readback import AGAIN_SECONDS

T = TypeVar("T")

_TIMES: Final = 30
"""How often: half a minute."""


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Read something, also when descriptors or memory are lacking for a while."""
    for _ in range(_TIMES):
        try:
            return await read()
        except LogBusy:
            await asyncio.sleep(AGAIN_SECONDS)
    return await read()
