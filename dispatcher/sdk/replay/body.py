"""A body in this process: its coroutine, its loop, its operations; from its begin to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from dispatcher.sdk.replay.evicting import evict_coroutine, evict_generator
from dispatcher.sdk.replay.issuing import Issuing
from dispatcher.sdk.replay.loop import Loop
from dispatcher.sdk.replay.model import NOTHING, Cancelled, Kind, Result
from dispatcher.sdk.replay.tasks import AnyTask, Task


class Body:
    """See the module. Whatever is delivered only makes something ready: `loop.run()` runs it."""

    def __init__(self, loop: Loop, issuing: Issuing) -> None:
        self.loop = loop
        self.issuing = issuing
        self.root: Task | None = None
        """The task of the coroutine, once it has begun."""
        self.is_cancelled = False
        """Whether the call was cancelled. The body may clean up then, and end as it likes."""
        self._cancels_seen = 0

    @property
    def is_done(self) -> bool:
        """Whether the coroutine has ended."""
        return self.root is not None and self.root.done()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be delivered."""
        return self.is_done or self.loop.fault is not None

    def begin(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run it to where it first waits."""
        self.root = self.loop.begin(coroutine)
        self.loop.run()

    def end(self, id: int, result: Result | None) -> None:
        """Deliver the result of an operation; of a sleep there is none."""
        self.issuing.end(id, NOTHING if result is None else result)

    def cancel(self, why: Cancelled) -> None:
        """Deliver that the call is to end."""
        assert self.root is not None
        self.is_cancelled = True
        self.root.cancel(why.reason)

    def take_cancelled(self) -> list[int]:
        """Close what was cancelled; return the calls and steps that were told of, and are to be
        given up. Looking through all operations is worth it only after something was cancelled."""
        if self._cancels_seen == self.loop.cancels:
            return []
        self._cancels_seen = self.loop.cancels
        told = [(id, each) for id, each in self.issuing.take_cancelled() if not each.is_new]
        return [id for id, each in told if each.operation.kind in (Kind.CALL, Kind.STEP)]

    def stands(self) -> list[str]:
        """What it does now, for messages: how it has ended, or where each task stands."""
        root = self.root
        assert root is not None
        if not root.done():
            return self.loop.standing()
        if root.cancelled():
            return ["it was cancelled"]
        error = root.exception()
        return ["it returned"] if error is None else [f"it raised {type(error).__name__}: {error}"]

    def close(self) -> None:
        """Forget it. Its coroutines end, with their `finally`, and can't make calls."""
        loop = self.loop
        if loop.is_closing:
            return
        loop.population.sweep()
        loop.begin_closing()
        with loop.entered():
            for task in reversed(loop.population.tasks()):
                _evict(loop, task)
            for generator in loop.population.generators():
                evict_generator(generator)
        loop.forget()
        self.issuing.open.clear()


def _evict(loop: Loop, task: AnyTask) -> None:
    """Code that cleans up may ask which task it is in: `asyncio.timeout` does."""
    asyncio.tasks._enter_task(loop, task)
    try:
        evict_coroutine(task.get_coro())
    finally:
        asyncio.tasks._leave_task(loop, task)
