"""When which call is due, or expires."""

from __future__ import annotations

import heapq
import itertools
from typing import Final

from dispatcher.sdk.testing.calls import Record

MAX_EXPIRATION_US: Final = 365 * 86_400_000_000


class Agenda:
    """Of calls that are due at the same instant, the one that was put down first comes first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Record]] = []
        self._numbers = itertools.count(1)

    def expect_end(self, call: Record) -> None:
        """Have a call expire at its time."""
        heapq.heappush(self._heap, (call.expires_us, next(self._numbers), call))

    def put(self, call: Record, at_us: int | None) -> None:
        """Have a call be due at an instant, None: not until it is put down again."""
        call.due_us = at_us
        if at_us is not None:
            heapq.heappush(self._heap, (at_us, next(self._numbers), call))

    def put_first(self, call: Record, at_us: int) -> None:
        """Have a call be due before all others of that instant."""
        call.due_us = at_us
        heapq.heappush(self._heap, (at_us, -next(self._numbers), call))

    def pop(self) -> Record:
        """Take out the call that `next_us` is about."""
        return heapq.heappop(self._heap)[2]

    def next_us(self, *, patient: bool = True) -> int | None:
        """When something is due next, None: not before somebody asks for something. Who is not
        `patient` does not wait a year for calls to expire that were given no time of their own."""
        while self._heap:
            at_us, _, call = self._heap[0]
            if not call.is_over and at_us in (call.due_us, call.expires_us):
                is_late = at_us != call.due_us and at_us - call.created_us >= MAX_EXPIRATION_US
                return at_us if patient or not is_late else None
            heapq.heappop(self._heap)
        return None
