"""How long a stop waits for a log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

PATIENCE_S: Final = 3.0
"""For a log that stores nothing meanwhile."""
_LOOK_S: Final = 0.1


async def ends_unless_stalled(
    act: Callable[[], Coroutine[None, None, None]],
    progress: Callable[[], int],
    *,
    patience_s: float = PATIENCE_S,
    look_s: float = _LOOK_S,
) -> bool:
    """Do something, and say whether it ended; it is cancelled when `progress` has not changed for
    too long.

    Looks are counted, not time: while this process stands still the disk may well have answered.
    """
    acting = asyncio.ensure_future(act())
    looks, seen = 0, progress()
    while not acting.done():
        await asyncio.wait([acting], timeout=look_s)
        now = progress()
        looks, seen = (looks + 1 if now == seen else 0), now
        if looks * look_s > patience_s and not acting.done():
            acting.cancel()
            await asyncio.wait([acting])
            return False
    acting.result()
    return True
