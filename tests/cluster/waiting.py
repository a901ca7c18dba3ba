"""Waiting for what real servers come to, of which nobody is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 60.0


async def until(holds: Callable[[], bool]) -> float:
    """Wait until it is so; return how long that took.

    Raises:
        TimeoutError: it does not come to that.
    """
    began_s = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.01)
    return time.monotonic() - began_s
