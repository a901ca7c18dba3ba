"""Several things at once: `gather`, `any` and `race` over whatever can be awaited.

They work in durable functions, in plain ones and elsewhere. What is still going on when the answer
is known is cancelled, and has ended when they return: a call that nobody waits for is given up.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, Literal, TypeVar, overload

from dispatcher.sdk.errors import exception_of
from dispatcher.sdk.functions import durable, performing
from dispatcher.sdk.functions.call import Call, refuse_key
from dispatcher.sdk.functions.gathering import values
from dispatcher.sdk.functions.together import together
from dispatcher.sdk.replay.model import Failure, Result

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")


@overload
async def gather(
    one: Awaitable[T1], two: Awaitable[T2], /, *, return_exceptions: Literal[False] = False
) -> tuple[T1, T2]: ...


@overload
async def gather(
    one: Awaitable[T1],
    two: Awaitable[T2],
    three: Awaitable[T3],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2, T3]: ...


@overload
async def gather(
    one: Awaitable[T1],
    two: Awaitable[T2],
    three: Awaitable[T3],
    four: Awaitable[T4],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2, T3, T4]: ...


@overload
async def gather(
    one: Awaitable[T1],
    two: Awaitable[T2],
    three: Awaitable[T3],
    four: Awaitable[T4],
    five: Awaitable[T5],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> tuple[T1, T2, T3, T4, T5]: ...


@overload
async def gather(
    *awaitables: Awaitable[T], return_exceptions: Literal[False] = False
) -> list[T]: ...


@overload
async def gather(
    *awaitables: Awaitable[T], return_exceptions: Literal[True]
) -> list[T | BaseException]: ...


async def gather(*awaitables: Awaitable[Any], return_exceptions: bool = False) -> Any:
    """Await several things at once, and return their results as a list, in their order.

    Unlike asyncio's, it cancels the others once one has failed, and waits until they have ended;
    then it raises that error. With `return_exceptions` errors stand among the results.
    """
    _refuse_others("gather", awaitables)
    loop = durable.running()
    calls = [each for each in awaitables if isinstance(each, Call)]
    if loop is not None and len(calls) == len(awaitables):
        return await _Calls(calls, return_exceptions)
    waits = [asyncio.ensure_future(each) for each in awaitables]
    try:
        return await asyncio.gather(*waits, return_exceptions=return_exceptions)
    finally:
        await _ended(waits)


async def any(*awaitables: Awaitable[T]) -> T:
    """Await several things, and return the first result; the others are cancelled.

    Raises:
        ExceptionGroup: all have failed. It has their errors, in the order of the arguments.
        ValueError: there is nothing to await.
    """
    waits = _begun("any", awaitables)
    try:
        failed: set[asyncio.Future[T]] = set()
        while len(failed) < len(waits):
            for wait in await _first(waits, failed):
                if not wait.cancelled() and wait.exception() is None:
                    return wait.result()
                failed.add(wait)
        raise BaseExceptionGroup(
            f"none of {len(waits)} succeeded", [_error(each) for each in waits]
        )
    finally:
        await _ended(waits)


async def race(*awaitables: Awaitable[T]) -> T:
    """Await several things, and return what the first gives that ends, or raise its error; the
    others are cancelled.

    Raises:
        ValueError: there is nothing to await.
    """
    waits = _begun("race", awaitables)
    try:
        return (await _first(waits, set()))[0].result()
    finally:
        await _ended(waits)


class _Calls:
    """Calls in a durable body: awaited without a task for each."""

    def __init__(self, calls: Sequence[Call[Any]], return_exceptions: bool) -> None:
        self._built = [each.take() for each in calls]
        self._return_exceptions = return_exceptions

    def __await__(self) -> Any:
        loop = durable.running()
        assert loop is not None
        for call in self._built:
            refuse_key(call)
        results = yield from together(
            loop,
            [call.operation() for call in self._built],
            is_failure_last=not self._return_exceptions,
        )
        if self._return_exceptions:
            return [
                self._value_or_error(result, call.returns)
                for result, call in zip(results, self._built, strict=True)
            ]
        return values(self._built, results)

    @staticmethod
    def _value_or_error(result: Result, hint: object) -> Any:
        return (
            exception_of(result)
            if isinstance(result, Failure)
            else performing.outcome(result, hint)
        )


def _begun(what: str, awaitables: Sequence[Awaitable[T]]) -> list[asyncio.Future[T]]:
    _refuse_others(what, awaitables)
    if not awaitables:
        raise ValueError(f"dispatch.{what}() was given nothing to await.")
    return [asyncio.ensure_future(each) for each in awaitables]


def _refuse_others(what: str, awaitables: Sequence[object]) -> None:
    for each in awaitables:
        if not inspect.isawaitable(each):
            is_several = isinstance(each, list | tuple | set)
            _close(awaitables)
            raise TypeError(
                f"dispatch.{what}() takes what can be awaited, as f(1), f(2), and was given "
                + (
                    f"a {type(each).__name__}: write dispatch.{what}(*calls)."
                    if is_several
                    else f"{each!r:.80}."
                )
            )


def _close(awaitables: Iterable[object]) -> None:
    """Have none of them say that it was never awaited: that is not the mistake."""
    for each in awaitables:
        if isinstance(each, list | tuple | set):
            _close(each)
        elif isinstance(each, Coroutine):
            each.close()


async def _first(
    waits: Sequence[asyncio.Future[T]], known: set[asyncio.Future[T]]
) -> list[asyncio.Future[T]]:
    """Wait until one has ended that is not known; several are in the order of the arguments."""
    left = [each for each in waits if each not in known]
    done, _ = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
    return [each for each in left if each in done]


def _error(wait: asyncio.Future[Any]) -> BaseException:
    return asyncio.CancelledError() if wait.cancelled() else wait.exception() or RuntimeError()


async def _ended(waits: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel what is going on, and wait until it has ended."""
    left = [each for each in waits if not each.done()]
    for each in left:
        each.cancel()
    if left:
        await asyncio.wait(left)
    for each in waits:
        if not each.cancelled():
            each.exception()  # known now: nobody is to be told that it was never looked at
