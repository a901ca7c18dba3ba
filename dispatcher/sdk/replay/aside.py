"""Another event loop in the place of the one that runs in this thread, for a while.

Until Python 3.13 asyncio keeps a current task for each loop, and that of the loop that is put aside
stays what it is. From 3.14 on it keeps one for each thread: it has to be put aside as well, or no
task of the other loop could be entered.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

IS_OF_THE_THREAD: Final = sys.version_info >= (3, 14)
"""Whether the current task is."""


@contextmanager
def running_instead(loop: asyncio.AbstractEventLoop | None) -> Iterator[None]:
    """Have `loop` be the running loop while the block runs, None: no loop."""
    outer = asyncio._get_running_loop()
    task = _swapped(outer, None)
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)
        _swapped(outer, task)


def _swapped(loop: asyncio.AbstractEventLoop | None, task: object) -> object:
    """Make `task` the current one of the running loop, and return the one before."""
    if loop is None or not IS_OF_THE_THREAD:
        return None
    tasks: Any = asyncio.tasks
    return tasks._swap_current_task(loop, task)
