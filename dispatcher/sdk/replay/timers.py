"""What waits for an instant: timers of asyncio, and durable sleeps. Instants are milliseconds since
the body began."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from heapq import heappop, heappush
from math import ceil
from typing import Any, Final

FAR_MS: Final = 1 << 52
"""An instant that never comes, and can still be calculated with: `asyncio.sleep(math.inf)`."""


class Timer(asyncio.TimerHandle):
    """What `loop.call_at` returns. It is on record only once it has ended: until then it is known
    by the path of its task, and its number in it."""

    __slots__ = ("index", "path", "timers")

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.timers: Timers | None = None
        self.path = ""
        self.index = 0

    def cancel(self) -> None:
        if self.timers is not None:
            self.timers.drop(self)
        super().cancel()


class Timers:
    """All that wait, and the time on record. A sleep is known by the number of its operation."""

    __slots__ = ("_heap", "_issued", "_live", "_sleeps", "now_ms")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer | int]] = []
        self._live: dict[tuple[str, int], Timer] = {}
        self._sleeps: set[int] = set()
        self._issued = 0
        self.now_ms = 0
        """When the last event was."""

    def __len__(self) -> int:
        return len(self._live) + len(self._sleeps)

    def __contains__(self, operation: int) -> bool:
        return operation in self._sleeps

    def add(self, timer: Timer, path: str, index: int) -> None:
        """Have a timer wait for its `when()`."""
        timer.timers, timer.path, timer.index = self, path, index
        self._live[path, index] = timer
        self._push(deadline_ms(timer.when()), timer)

    def sleep(self, operation: int, until_ms: int) -> None:
        """Have an operation wait for an instant."""
        self._sleeps.add(operation)
        self._push(until_ms, operation)

    def drop(self, what: Timer | int) -> None:
        """Let it wait no more, if it does. What is left of it in the heap is thrown out once that
        is half of it: code that wraps each await in a timeout leaves one each time."""
        if isinstance(what, int):
            self._sleeps.discard(what)
        else:
            self._live.pop((what.path, what.index), None)
            what.timers = None
        if len(self._heap) > 2 * len(self) + 64:
            self._heap = sorted(entry for entry in self._heap if self._waits(entry[2]))

    def find(self, path: str, index: int) -> Timer | None:
        """Return the timer of this name, if it waits."""
        return self._live.get((path, index))

    def next_ms(self) -> int | None:
        """Return the earliest instant that something waits for; None where nothing does."""
        while self._heap and not self._waits(self._heap[0][2]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def next_due(self) -> Timer | int:
        """Return what waits for that instant; of several, what was issued first."""
        return self._heap[0][2]

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._live.clear()
        self._sleeps.clear()

    def _push(self, at_ms: int, what: Timer | int) -> None:
        self._issued += 1
        heappush(self._heap, (at_ms, self._issued, what))

    def _waits(self, what: Timer | int) -> bool:
        return what in self._sleeps if isinstance(what, int) else what.timers is not None


def deadline_ms(when_s: float) -> int:
    """Return the first whole millisecond that is not before `when_s`, seconds. Microseconds are
    rounded first: 0.1 + 0.2 is not a moment after 0.3."""
    return ceil(round(min(when_s, FAR_MS / 1000) * 1_000_000) / 1000)
