"""Runs what is ready in a durable body, and never waits: tasks, callbacks, timers of asyncio.

That is what asyncio asks of a loop. What has ended is told by who drives it: it rings the timers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from threading import get_ident
from typing import Any, Final, TypeVarTuple

from dispatcher.sdk.replay import faults
from dispatcher.sdk.replay.foreign import thrown_by
from dispatcher.sdk.replay.guarded import GuardedLoop
from dispatcher.sdk.replay.model import Evicted, Faulted, Told
from dispatcher.sdk.replay.population import Population
from dispatcher.sdk.replay.standing import waiting_at
from dispatcher.sdk.replay.tasks import Future, Place, Task
from dispatcher.sdk.replay.timers import Timer, Timers, deadline_ms

TURNS: Final = 100_000
"""How often something may run, without a new operation, task or timer, before that is taken for a
loop without end: about a second."""

_Ts = TypeVarTuple("_Ts")


class SchedulingLoop(GuardedLoop):
    """See the module."""

    def __init__(self, told: Told, population: Population, timers: Timers, judged: str) -> None:
        super().__init__(told, population, judged)
        self.timers = timers
        self.cancels = 0
        """How often a task was cancelled: what it waited for may be an operation."""
        self._ready: deque[asyncio.Handle] = deque()
        self._progress = 0

    # For who runs the body.

    def run(self) -> None:
        """Run what is ready, and what that makes ready, until nothing is or there is a fault."""
        ready = self._ready
        turns, progress = 0, self._progress
        while ready and self.fault is None:
            handle = ready.popleft()
            if handle.cancelled():
                continue
            handle._run()
            turns += 1
            if turns == TURNS:
                if progress == self._progress:
                    self.fault = Faulted(faults.never_waits(self.told, turns, self.standing()))
                turns, progress = 0, self._progress

    def ring(self, timer: Timer) -> None:
        """End a timer."""
        self.timers.drop(timer)
        self._ready.append(timer)

    def forget(self) -> None:
        """Drop everything: nothing of it will run any more."""
        self._ready.clear()
        self.timers.clear()
        self.population.forget()

    # What asyncio asks of a loop.

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self._thread != get_ident():
            self._refuse_outside()
        elif not self.is_closing:
            self._ready.append(handle)
            if (error := thrown_by(callback)) is not None and self.fault is None:
                at = waiting_at(self.population, self._place())
                self.fault = Faulted(faults.of_another_loop(self.told, error, at))
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._thread == get_ident():
            return self.call_soon(callback, *args, context=context)
        self._refuse_outside()
        return asyncio.Handle(callback, args, self, context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = Timer(when, callback, args, self, context)
        if self._thread != get_ident():
            self._refuse_outside()
        elif self.is_closing:
            pass
        elif deadline_ms(when) <= self.timers.now_ms:
            self._ready.append(timer)  # else the next poll would ask to be resumed at once
        else:
            self._progress += 1
            place = self._place()
            self.timers.add(timer, place.path, place.timers)
            place.timers += 1
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # `Timer.cancel` has said so already

    def time(self) -> float:
        return self.timers.now_ms / 1000

    def create_future(self) -> asyncio.Future[Any]:
        return Future(self.next_hash(), loop=self)

    def next_hash(self) -> int:
        """A hash for a future, the same in every replay."""
        return self._place().next_hash()

    def create_task(  # type: ignore[override]  # no generators, which asyncio takes no more either
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: Context | None = None,
        **_: Any,  # from 3.14 on, whether to begin at once: it begins with the next turn
    ) -> Task:
        if self._thread != get_ident() or self.is_closing:
            coro.close()
            self._check_inside()
            raise Evicted
        return self._add(coro, self.population.next_below(self._place()), name, context)

    # Inside.

    def _add(
        self,
        coroutine: Coroutine[Any, Any, Any],
        place: Place,
        name: object = None,
        context: Context | None = None,
    ) -> Task:
        self._progress += 1
        task = Task(coroutine, place, loop=self, counter=self, name=name, context=context)
        self.population.add(task)
        return task

    def _place(self) -> Place:
        """Of the task that runs here; callbacks have one together."""
        return self.population.place(self)
