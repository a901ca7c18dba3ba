"""The loop that an environment runs on: its own, entered from wherever the test stands.

A test may be `async def` or not, a plain function may call others from its loop or from a thread.
So whoever asks for something from outside of the loop blocks until it is there; the loop of an
asynchronous test stands still meanwhile, which is what simulated time means.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from dispatcher.sdk.replay.aside import running_instead

T = TypeVar("T")


class World:
    """One event loop. It runs only while somebody waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread: int | None = None

    async def within(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` on the loop, from any other or from itself."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return self.block(work)

    def block(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` on the loop, and wait for it here."""
        if self._thread is None:
            return self._enter(work)
        if self._thread != threading.get_ident():
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        work.close()
        raise RuntimeError(
            "A function that runs in the environment can't wait for it without `await`: write "
            "`await f.dispatch(x)` and `await handle.result()`, or make it `def`."
        )

    def close(self) -> None:
        """Close the loop; what still runs on it is cancelled."""
        if not self._loop.is_closed():
            self.block(_cancel_all())
            self._loop.close()

    def _enter(self, work: Coroutine[Any, Any, T]) -> T:
        with running_instead(None):
            self._thread = threading.get_ident()
            try:
                return self._loop.run_until_complete(work)
            finally:
                self._thread = None


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
