"""One owner for background tasks: it starts them, hears of every one that dies, and stops them.

A task that nobody awaits loses its exception without a word. Here whatever ends a task, other than
its return or a cancellation, is handed to one callback, once, as it happens; the process makes an
error-level event of it (`task.died`). `forever` is for work that has to go on: it runs again after
a failure, with a pause that doubles, so that a fault that stays is neither silent nor a flood.

Nothing here knows how events are written: the callback is all there is of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

STOP_TIMEOUT_S: Final = 5.0
"""How long a cancelled task has to end."""
_LONGEST_PAUSE_S: Final = 300.0


class Died(Protocol):
    """Who is told that a background task ended with an exception."""

    def __call__(self, name: str, error: BaseException) -> None: ...


class Supervisor:
    """Owns background tasks, which may start one another; all in one event loop.

    `died` is called in the event loop, once for each failure. It must not raise.
    """

    def __init__(self, died: Died) -> None:
        self._died = died
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    def __repr__(self) -> str:
        return f"<Supervisor {', '.join(self.names) or 'idle'}>"

    @property
    def names(self) -> list[str]:
        """The names of the tasks that run, sorted; one that runs twice is there twice."""
        return sorted(task.get_name() for task in self._tasks)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` in a task. Its owner may cancel the task, or await it.

        After `stop` began nothing starts any more: the task is cancelled before its first step.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if self._is_stopping:
            task.cancel()
        return task

    def forever(
        self, name: str, turn: Callable[[], Awaitable[None]], *, every_s: float
    ) -> asyncio.Task[None]:
        """Await `turn()`, wait `every_s` seconds (above 0), and so on until the task is cancelled.

        A turn that raises is told like a task that died, and tried again: after `every_s`, then
        twice that, up to five minutes (or `every_s`, where that is longer).
        """
        return self.spawn(name, self._turns(name, turn, every_s))

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Cancel every task and wait until all have ended. Idempotent.

        A task that has not ended after `timeout_s` is told as dead of a `TimeoutError`, and left.
        """
        self._is_stopping = True
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._tasks:
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                for name in self.names:
                    self._died(name, TimeoutError(f"did not end within {timeout_s:g} s"))
                return
            for task in self._tasks:
                task.cancel()
            # What these start in their last moments is cancelled too, in the next round.
            await asyncio.wait(list(self._tasks), timeout=left_s)

    async def _turns(self, name: str, turn: Callable[[], Awaitable[None]], every_s: float) -> None:
        pause_s = every_s
        while True:
            try:
                await turn()
            except Exception as error:
                self._died(name, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, max(_LONGEST_PAUSE_S, every_s))
            else:
                pause_s = every_s
                await asyncio.sleep(every_s)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._died(task.get_name(), error)
