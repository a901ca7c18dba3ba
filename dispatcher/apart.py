"""Blocking calls that may never return, each in a thread that nobody waits for.

A name server that does not answer and a file system that hangs cannot be interrupted. The threads
of `asyncio.to_thread` are few, so that a handful of such calls hold up all others; and they are
joined when the loop is closed and when the interpreter ends, so that one of them keeps a process
from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def apart(call: Callable[[], T], *, name: str) -> T:
    """Call it in a thread of this name; return what it returns, or raise what it raises. When this
    is cancelled the call goes on, and what it comes to is for nobody.

    Raises:
        RuntimeError: no thread can be started.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # it is raised where it is waited for
            settle(found.set_exception, error)
        else:
            settle(found.set_result, result)

    def settle(end: Callable[..., None], value: object) -> None:
        def unless_cancelled() -> None:
            if not found.done():
                end(value)

        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(unless_cancelled)

    threading.Thread(target=work, name=name, daemon=True).start()
    return await found
