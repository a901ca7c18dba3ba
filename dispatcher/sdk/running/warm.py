"""Suspended calls, kept in memory so that they need not be replayed.

The oldest are evicted, silently: no command comes of it, no line in a log. Bounded by calls and by
tasks, as a call of many tasks takes as much as many calls (5 to 11 kB each).

When the process ends nothing of them runs either: they are parked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

from dispatcher.sdk.replay.parking import parked

MOST_TASKS: Final = 20_000


class Kept(Protocol):
    """A suspended call."""

    @property
    def tasks(self) -> int:
        """How many tasks it has, the body's own too."""
        ...

    def close(self) -> None:
        """Evict it."""
        ...


K = TypeVar("K", bound=Kept)


class Warm(Generic[K]):
    """Suspended calls by id, those that were used last. For any number of threads: whoever takes a
    call has it alone."""

    def __init__(self, most: int, *, most_tasks: int = MOST_TASKS) -> None:
        """`most`: calls; 0: none is kept."""
        self._most = most
        self._most_tasks = most_tasks
        self._tasks = 0
        self._calls: OrderedDict[str, tuple[K, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def is_on(self) -> bool:
        """Whether it keeps anything at all."""
        return self._most > 0

    def take(self, call_id: str) -> K | None:
        """Take a call out, None where it is not here."""
        with self._lock:
            return self._pop(call_id)

    def put(self, call_id: str, call: K) -> None:
        """Keep a call, and evict the oldest where it is too much. Before, `take` it."""
        with self._lock:
            evicted = [old] if (old := self._pop(call_id)) is not None else []
            self._calls[call_id] = call, call.tasks
            self._tasks += call.tasks
            while self._calls and self._is_too_much():
                oldest = self._pop(next(iter(self._calls)))
                assert oldest is not None
                evicted.append(oldest)
            if self._calls:
                parked.hold(self._calls)
        for one in evicted:
            one.close()

    def clear(self) -> None:
        """Evict all."""
        with self._lock:
            evicted = [call for call, _ in self._calls.values()]
            self._calls.clear()
            self._tasks = 0
            parked.let_go(self._calls)
        for one in evicted:
            one.close()

    def _is_too_much(self) -> bool:
        return len(self._calls) > self._most or self._tasks > self._most_tasks

    def _pop(self, call_id: str) -> K | None:
        found = self._calls.pop(call_id, None)
        if found is None:
            return None
        self._tasks -= found[1]
        return found[0]
