"""The event loop of a durable body: it runs what is ready, and never waits.

There is one for each body. It is the running loop of its thread while the body runs, so that
everything of asyncio that only waits and wakes works as it is; what would reach outside is refused.
Who runs it enters it (`entered`), wakes something, and has it run until nothing is ready (`run`).

While it is not entered nothing may be made ready: the body would be woken by something that is not
on record, and a replay would not be.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from random import Random
from threading import get_ident
from typing import Any, Final, TypeVarTuple

from dispatcher.sdk.replay import faults, where
from dispatcher.sdk.replay.denied import DenyingLoop
from dispatcher.sdk.replay.evicting import evict_generator
from dispatcher.sdk.replay.faults import Stopped
from dispatcher.sdk.replay.issuing import Issuing
from dispatcher.sdk.replay.model import (
    Contradicted,
    Evicted,
    Faulted,
    Kind,
    Operation,
    Result,
    Told,
)
from dispatcher.sdk.replay.population import Population
from dispatcher.sdk.replay.standing import running_at, standing
from dispatcher.sdk.replay.tasks import Future, Place, Task
from dispatcher.sdk.replay.timers import Timer, Timers, deadline_ms

CARRIED: Final[list[ContextVar[Any]]] = []
"""What a body sees of who runs it: the same in every replay."""
TURNS: Final = 100_000
"""How often something may run, without a new operation, task or timer, before that is taken for a
loop without end: about a second."""
RAISES: Final = 50
"""How often a body that can't go on is told so. Then it is left waiting: `while True` around a
`try` that swallows everything would never come back."""

_Ts = TypeVarTuple("_Ts")
_log = logging.getLogger("dispatcher.sdk")


class Loop(DenyingLoop):
    """See the module. `told` is what the Run request said of the call; `is_replaying` is True until
    everything on record has been replayed."""

    def __init__(self, told: Told, issuing: Issuing, timers: Timers, judged: str) -> None:
        self.told = told
        self._judged = judged
        self.is_replaying = False
        self.is_closing = False
        self.fault: Contradicted | Faulted | None = None
        self.cancels = 0
        """How often a task was cancelled: what it waited for may be an operation."""
        self.timers = timers
        self._issuing = issuing
        self._ready: deque[asyncio.Handle] = deque()
        self.population = Population(issuing.known)
        self._thread: int | None = None
        self._progress = 0
        self._raised = 0
        self._random: Random | None = None

    def __repr__(self) -> str:
        return f"<durable loop of {self.told.function}, call {self.told.id}>"

    # For code that runs in the body.

    def perform(self, operation: Operation, *, group: object = None) -> asyncio.Future[Result]:
        """Issue an operation, or find it on record; the future has its result, once it is there.

        Cancelling the future gives the operation up: use `cancel`. `group` is the same for
        operations of which none wakes anybody before all have ended.

        Raises:
            BaseException: the body can't go on, because of this operation or since before.
        """
        self._check_inside()
        if self.is_closing or self.fault is not None:
            return self._turned_away()
        self._progress += 1
        place = self._place()
        future: asyncio.Future[Result] = asyncio.Future(loop=self)
        if operation.kind is Kind.PATCH:
            future.set_result(self._issuing.patch(operation, place, self.is_replaying))
            return future
        self.fault = self._issuing.issue(operation, place, future, group)
        return future if self.fault is None else self._turned_away()

    def cancel(self, future: asyncio.Future[Result]) -> bool:
        """Give up the operation that `future` is of."""
        self.cancels += 1
        return future.cancel()

    def time_us(self) -> int:
        """The time on record: when the last event was, in microseconds since the epoch."""
        return self._issuing.writer.started_us + self.timers.now_ms * 1000

    @property
    def random(self) -> Random:
        """A generator that is the same in every replay of this call, and another one after a tail
        call, which has the same id: names that are drawn with it are new there."""
        if self._random is None:
            self._random = Random(f"{self.told.id} {self._issuing.writer.started_us}")
        return self._random

    # For who runs the body.

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have it be the running loop of this thread. The one that runs there is put aside, with
        its hooks for asynchronous generators: theirs would be finalized in tasks of the other loop.
        The other's current task stays what it is: asyncio keeps one for each loop."""
        outer = asyncio._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        self._thread = get_ident()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(self._generator_begins, self._generator_lost)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(outer)
            self._thread = None

    def begin(self, body: Coroutine[Any, Any, object]) -> Task:
        """Return the task of the body. Its context is empty but for CARRIED: that of the request
        that happens to run it would be another one in a replay."""
        context = Context()
        for variable in CARRIED:
            context.run(variable.set, variable.get(None))
        return self._add(body, self.population.root(), context=context)

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

    def standing(self) -> list[str]:
        """Where each task stands, a line each, for messages."""
        return standing(self.population, self._issuing)

    def begin_closing(self) -> None:
        """Have everything be refused from now on, silently."""
        self.is_closing = True
        self._raised = 0

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

    def is_running(self) -> bool:
        return self._thread is not None

    def is_closed(self) -> bool:
        return self.is_closing

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log it, once: what is replayed was logged by the run that it is on record of."""
        error = context.get("exception")
        if self.is_replaying or self.is_closing or isinstance(error, (Stopped, Evicted)):
            return
        _log.error("%s: %s", self.told.function, context.get("message"), exc_info=error)

    def deny(self, what: str) -> Any:
        self._check_inside()
        if not self.is_closing and self.fault is None:
            frame, end = sys._getframe(1), Loop.run.__code__
            at = running_at(self.population, self._place(), frame, end=end)
            self.fault = Faulted(faults.does_io(self.told, what, at, judged=self._judged))
        return self._turned_away()

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

    def _turned_away(self) -> asyncio.Future[Any]:
        self._raised += 1
        if self._raised > RAISES:
            return asyncio.Future(loop=self)
        if self.is_closing:
            raise Evicted
        assert self.fault is not None
        raise Stopped(self.fault.message)

    def _check_inside(self) -> None:
        if self._thread != get_ident():
            self._refuse_outside()

    def _refuse_outside(self) -> None:
        """Raise to who uses it from outside, and remember it: the body is in disorder now."""
        if self.is_closing:
            return
        at = where.spot(sys._getframe(2), Loop.run.__code__)
        if self.fault is None:
            standing = self.standing() if at is None else ()
            self.fault = Faulted(faults.used_from_outside(self.told, at, standing))
        raise RuntimeError(self.fault.message)

    def _generator_begins(self, generator: Any) -> None:
        self.population.generator_begins(generator)

    def _generator_lost(self, generator: Any) -> None:
        """Finalize a generator that was broken off, in a task whose path shifts nobody else's.
        While the body is suspended, only the garbage collector loses one: it is kept till the end,
        for the collector runs at another time in a replay."""
        if self.is_closing:
            evict_generator(generator)
        elif self._thread == get_ident():
            self._add(generator.aclose(), self.population.next_lost())
        else:
            self.population.keep(generator)


def running() -> Loop | None:
    """Return the durable loop that runs here; None outside of durable bodies."""
    loop = asyncio._get_running_loop()
    return loop if isinstance(loop, Loop) else None
