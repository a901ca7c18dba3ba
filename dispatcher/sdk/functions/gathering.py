"""`f.gather(xs)`: many calls of one function, their results in the order of the arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from typing import Any, Final, TypeVar

from dispatcher.sdk.functions import durable, performing
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.call import Home, refuse_key
from dispatcher.sdk.functions.pending import Pending
from dispatcher.sdk.functions.ports import Caller
from dispatcher.sdk.functions.spec import Place
from dispatcher.sdk.functions.together import together
from dispatcher.sdk.replay.model import Failure, Operation, Result

R = TypeVar("R")

_MOST_IN_A_DISPATCH: Final = 1_000  # what the server takes in one request


class Gathering(Pending[list[R]]):
    """Calls of one function that are waited for together: what its `gather` returns."""

    __slots__ = ("_calls", "_home", "_limit")

    def __init__(
        self,
        name: str,
        calls: Sequence[BuiltCall[R]],
        *,
        limit: int | None,
        home: Home,
        place: Place,
    ) -> None:
        super().__init__(name, place)
        self._calls = calls
        self._limit = limit if limit is not None and limit < len(calls) else None
        self._home = home

    @property
    def what(self) -> str:
        return f"the gather of {self.__name__}"

    @property
    def _nothing(self) -> str:
        return "nothing was dispatched"

    def _run(self) -> Generator[Any, Any, list[R]]:
        if performing.is_inside():
            results = yield from self._inside()
        else:
            caller = self._home.caller(self.what, self._place)
            results = yield from from_outside(caller, self._calls, self._limit).__await__()
        return values(self._calls, results)

    def _inside(self) -> Generator[Any, Any, list[Result]]:
        for call in self._calls:
            refuse_key(call)
        operations = [call.operation() for call in self._calls]
        loop = durable.running()
        if loop is not None:
            return (yield from together(loop, operations, limit=self._limit))
        return (yield from _in_a_plain_body(operations))


def values(calls: Sequence[BuiltCall[R]], results: Sequence[Result]) -> list[R]:
    """Return the values of results, or raise the error of the first that failed."""
    for result in results:
        if isinstance(result, Failure):
            performing.outcome(result, None)
    return [
        performing.outcome(result, call.returns)
        for call, result in zip(calls, results, strict=True)
    ]


def _in_a_plain_body(operations: Sequence[Operation]) -> Generator[Any, Any, list[Result]]:
    """Tell who runs the body of the first: it is run anew as a durable one, or raises."""
    results = []
    for operation in operations:
        results.append((yield from performing.performed(operation)))
    return results


async def from_outside(
    caller: Caller, calls: Sequence[BuiltCall[Any]], limit: int | None
) -> list[Result]:
    """Dispatch calls and wait for their results, or for the first that failed.

    The calls go on when it is cancelled, or another has failed.
    """
    if limit is None:
        ids = await _dispatched(caller, calls)
        waits = [asyncio.ensure_future(caller.wait(each)) for each in ids]
    else:
        turns = asyncio.Semaphore(limit)
        waits = [
            asyncio.ensure_future(_in_turn(turns, caller, call, _numbered(call.key, index)))
            for index, call in enumerate(calls)
        ]
    try:
        return await _until_failure(waits)
    finally:
        for wait in waits:
            wait.cancel()


async def _dispatched(caller: Caller, calls: Sequence[BuiltCall[Any]]) -> list[str]:
    """All ids, in order. Where they don't fit one request each of these has a key of its own."""
    ids: list[str] = []
    for start in range(0, len(calls), _MOST_IN_A_DISPATCH):
        some = calls[start : start + _MOST_IN_A_DISPATCH]
        ids += await caller.dispatch(some, key=_numbered(some[0].key, start))
    return ids


def _numbered(key: str | None, start: int) -> str | None:
    return f"{key}#{start}" if key is not None and start else key


async def _in_turn(
    turns: asyncio.Semaphore, caller: Caller, call: BuiltCall[Any], key: str | None
) -> Result:
    async with turns:
        ids = await caller.dispatch([call], key=key)
        return await caller.wait(ids[0])


async def _until_failure(waits: Sequence[asyncio.Future[Result]]) -> list[Result]:
    left = set(waits)
    while left:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            if wait in done and isinstance(wait.result(), Failure):
                return [wait.result()]
    return [wait.result() for wait in waits]
