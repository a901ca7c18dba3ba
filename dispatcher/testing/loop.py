"""An event loop on simulated time: an hour of retries takes a millisecond, and takes it again
exactly.

The loop asks its selector to wait until the next timer is due; the selector of this one advances
the clock instead. Give the same clock to the code under test. Real sockets and threads work too:
what they have to say is always taken before time passes.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any, TypeVar

from dispatcher.testing.clock import SimulatedClock

T = TypeVar("T")

_PATIENCE_S = 60.0
"""Real seconds to wait for a thread or a socket when no timer is left."""


class StuckError(AssertionError):
    """Nothing is scheduled and nobody will wake the loop: what is awaited never comes."""


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is not None:
            self._clock.advance(us=max(1, ceil(timeout * 1_000_000 - 1e-3)))
            return []
        events = super().select(_PATIENCE_S)
        if not events:
            raise StuckError("no callback, no timer, no socket: what is awaited never comes")
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` is the clock's monotonic time, and which never waits for it.

    `errors` are the exceptions of callbacks and tasks that nobody took.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__(_Selector(clock))
        self.clock = clock
        self.errors: list[str] = []
        self.set_exception_handler(self._note)

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    def time(self) -> float:
        """Seconds, as `call_later` counts them."""
        return self.clock.monotonic_us() / 1_000_000

    def run_for(self, seconds: float) -> None:
        """Let that much simulated time pass and everything happen that is due in it."""
        self.run_until_complete(asyncio.sleep(seconds))


def run(main: Callable[[SimulatedClock], Coroutine[Any, Any, T]]) -> T:
    """Run `main(clock)` to its end on a new simulated loop, and return what it returns.

    Raises:
        StuckError: it waits for something that never comes.
        AssertionError: a callback or a task failed, and nobody noticed.
    """
    clock = SimulatedClock()
    loop = SimulatedLoop(clock)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main(clock))
        gc.collect()  # a task's exception is reported when the task goes
    assert not loop.errors, "\n".join(loop.errors)
    return result


class Others:
    """Somebody else on the loop. `turns` is how often they had theirs."""

    def __init__(self) -> None:
        self.turns = 0

    async def _count(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self.turns += 1


@contextmanager
def others(every_s: float = 0.0) -> Iterator[Others]:
    """Let others have their turn as often as they can, but for so many seconds in between."""
    found = Others()
    task = asyncio.get_running_loop().create_task(found._count(every_s))
    try:
        yield found
    finally:
        task.cancel()
