"""How long the event loop works on one answer: without its waits, and without what others did
meanwhile. Rests between slices are as long as that asks for (`pace`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")


class Metered(Generic[T]):
    """A coroutine to await once, of which it is known how long the thread worked on it. Who runs
    inside it asks for that with `taken_s`."""

    __slots__ = ("_began", "_make", "_spent_s", "_taken_s", "_worked")

    def __init__(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        """`worked` says how long this thread has worked, in seconds: on a machine that is busy with
        something else an answer may take long and be cheap."""
        self._make = make
        self._worked = worked
        self._spent_s = 0.0
        self._taken_s = 0.0
        self._began = 0.0

    @property
    def worked_s(self) -> float:
        """How long the thread worked on it, up to the last time that it waited."""
        return self._spent_s

    def __await__(self) -> Generator[Any, Any, T]:
        before = _CURRENT.set(self)
        try:
            result = yield from self._steps()
        finally:
            _CURRENT.reset(before)
        return result

    def _steps(self) -> Generator[Any, Any, T]:
        steps = self._make()
        step: Callable[[], Any] = partial(steps.send, None)
        while True:
            self._began = self._worked()
            try:
                awaited = step()
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                self._spent_s += self._worked() - self._began
            try:
                yield awaited
                step = partial(steps.send, None)
            except BaseException as error:
                step = partial(steps.throw, error)  # which is for it to raise or to handle

    def _take(self) -> float:
        """What was worked since the last time this was asked, in the midst of a step."""
        so_far_s = self._spent_s + self._worked() - self._began
        taken_s, self._taken_s = so_far_s - self._taken_s, so_far_s
        return taken_s


_CURRENT: Final[ContextVar[Metered[Any] | None]] = ContextVar("meter", default=None)


def taken_s() -> float:
    """How long the thread has worked on the answer that the caller is a part of, since this was
    asked last; 0 where nobody meters it."""
    current = _CURRENT.get()
    return 0.0 if current is None else current._take()
