"""Durable sleep: no process has to live that long."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, TypeVar, overload

from dispatcher.sdk.functions import marks, performing, sites
from dispatcher.sdk.functions.durations import Seconds, microseconds
from dispatcher.sdk.functions.pending import Pending
from dispatcher.sdk.functions.spec import Place
from dispatcher.sdk.replay.model import Kind, Operation

T = TypeVar("T")


@overload
def sleep(delay: Seconds) -> Pending[None]: ...


@overload
def sleep(delay: Seconds, result: T) -> Pending[T]: ...


@marks.operation()
def sleep(delay: Seconds, result: Any = None) -> Pending[Any]:
    """Wait for `delay`: `await dispatch.sleep(timedelta(days=3))`. Returns `result`.

    In a durable function it is on record when the time is over, and no process has to live until
    then; `asyncio.sleep` does the same there. Outside of functions it is asyncio's.

    Raises:
        TypeError: `delay` is neither a number of seconds nor a timedelta.
        ValueError: it is negative, or not finite.
    """
    return _Sleeping(microseconds(delay, "what sleep is given"), result, sites.caller())


class _Sleeping(Pending[T]):
    __slots__ = ("_delay_us", "_result")

    def __init__(self, delay_us: int, result: T, place: Place) -> None:
        super().__init__("sleep", place)
        self._delay_us = delay_us
        self._result = result

    @property
    def _nothing(self) -> str:
        return "nobody slept"

    def _run(self) -> Generator[Any, Any, T]:
        if performing.is_inside():
            operation = Operation(Kind.SLEEP, "sleep", str(self._place), duration_us=self._delay_us)
            performing.outcome((yield from performing.performed(operation)), None)
        else:
            yield from asyncio.sleep(self._delay_us / 1_000_000).__await__()
        return self._result
