"""The event loop of a durable body: it runs what is ready, and never waits.

There is one for each body. It is the running loop of its thread while the body runs, so that
everything of asyncio that only waits and wakes works as it is; what would reach outside is refused.
Who runs it enters it (`entered`), wakes something, and has it run until nothing is ready (`run`).

    denied       what reaches outside
    guarded      who may use it, and when
    scheduling   what is ready, and timers
    this file    operations, and what a replay does otherwise
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from random import Random
from threading import get_ident
from typing import Any, Final

from dispatcher.sdk.replay.evicting import evict_generator
from dispatcher.sdk.replay.faults import Stopped
from dispatcher.sdk.replay.issuing import Issuing
from dispatcher.sdk.replay.model import Evicted, Kind, Operation, Result, Told
from dispatcher.sdk.replay.population import Population
from dispatcher.sdk.replay.scheduling import SchedulingLoop
from dispatcher.sdk.replay.standing import standing
from dispatcher.sdk.replay.tasks import Task
from dispatcher.sdk.replay.timers import Timers

CARRIED: Final[list[ContextVar[Any]]] = []
"""What a body sees of who runs it: the same in every replay."""

_log = logging.getLogger("dispatcher.sdk")


class Loop(SchedulingLoop):
    """See the module. `told` is what the Run request said of the call; `is_replaying` is True until
    everything on record has been replayed."""

    def __init__(self, told: Told, issuing: Issuing, timers: Timers, judged: str) -> None:
        super().__init__(told, Population(issuing.known), timers, judged)
        self.is_replaying = False
        self._issuing = issuing
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

    def begin(self, body: Coroutine[Any, Any, object]) -> Task:
        """Return the task of the body. Its context is empty but for CARRIED: that of the request
        that happens to run it would be another one in a replay."""
        context = Context()
        for variable in CARRIED:
            context.run(variable.set, variable.get(None))
        return self._add(body, self.population.root(), context=context)

    def standing(self) -> list[str]:
        """Where each task stands, a line each, for messages."""
        return standing(self.population, self._issuing)

    # What happens in it that nobody waits for.

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log it, once: what is replayed was logged by the run that it is on record of."""
        error = context.get("exception")
        if self.is_replaying or self.is_closing or isinstance(error, (Stopped, Evicted)):
            return
        _log.error("%s: %s", self.told.function, context.get("message"), exc_info=error)

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
