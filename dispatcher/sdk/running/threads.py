"""The threads that functions and steps run in that are not async."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Final, TypeVar

T = TypeVar("T")

MOST: Final = 200
"""As many as a server runs at once unless told otherwise. They are made when they are needed: what
they run waits for slow services, and the few of `asyncio.to_thread` would be in its way."""


async def in_thread(call: Callable[[], T]) -> T:
    """Run `call` in a thread. Where who waits is cancelled the thread goes on, and what comes of it
    is dropped.

    Raises:
        BaseException: what it raised.
    """
    loop = asyncio.get_running_loop()

    def guarded() -> T:
        try:
            return call()
        except StopIteration as error:  # which no future can hold
            raise RuntimeError(f"the function raised StopIteration({error})") from error

    return await loop.run_in_executor(_pool(os.getpid()), guarded)


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Of this process: one that was forked has none of the threads of its parent."""
    return ThreadPoolExecutor(MOST, thread_name_prefix="dispatch")
