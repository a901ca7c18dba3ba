"""Plain functions: run from beginning to end, on the application's loop or in a thread.

What went wrong is in the answer, and the server tries again by its status, from the start.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, cast

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.functions import context
from dispatcher.sdk.functions.context import Inside
from dispatcher.sdk.replay.model import Failure, Operation, TailCall, Value
from dispatcher.sdk.running.net import Net
from dispatcher.sdk.running.requests import Run
from dispatcher.sdk.running.responses import Ending, Passed
from dispatcher.sdk.running.runnable import Runnable, bound, raised, returned
from dispatcher.sdk.running.threads import in_thread


async def run_plain(runnable: Runnable, run: Run) -> Ending | Passed | Operation:
    """Run a function from its input until it ends.

    Returns:
        An operation where it turned out to be durable: nothing was done, and it is to be run so.
    """
    assert isinstance(run.directive, Value)
    call = bound(runnable, run.directive, call_id=run.told.id)
    if isinstance(call, Ending):
        return call
    within_s = allowed_s(runnable, run)
    try:
        async with asyncio.timeout(within_s) as limit:
            return await (_on_loop if runnable.spec.is_async else _off_loop)(runnable, run, call)
    except TimeoutError as error:
        if limit.expired():
            return _out_of_time(runnable, run, within_s)
        return raised(runnable, error, call_id=run.told.id)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # not the function was cancelled, but who runs it
        return raised(runnable, error, call_id=run.told.id)
    except TailCall as tail:
        return Passed(tail.operation)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        return raised(runnable, error, call_id=run.told.id)


_log: Final = logging.getLogger("dispatcher.sdk")
_ROOM_S: Final = 1.0
"""Before the server gives up the answer has to be there; of a short time, a tenth."""


def allowed_s(runnable: Runnable, run: Run) -> float | None:
    """How long a run of a function may take, in seconds; None: as long as it likes."""
    limits = []
    if run.within_s is not None:
        limits.append(run.within_s - min(_ROOM_S, run.within_s / 10))
    if runnable.spec.timeout_us is not None:
        limits.append(runnable.spec.timeout_us / 1_000_000)
    return min(limits, default=None)


async def _on_loop(runnable: Runnable, run: Run, call: Callable[[], object]) -> Ending | Operation:
    net = Net(runnable.spec)
    token = context.inside.set(Inside(run.told, net))
    try:
        body = call()
        if not isinstance(body, Coroutine):
            body = _awaited(body)
        value = await _Driven(net, cast(Coroutine[Any, Any, object], body))
    finally:
        context.inside.reset(token)
    return returned(runnable, value, call_id=run.told.id) if net.caught is None else net.caught


async def _awaited(value: Any) -> object:
    return await value


class _Driven:
    """What is awaited to have a net run a body."""

    def __init__(self, net: Net, body: Coroutine[Any, Any, object]) -> None:
        self._net = net
        self._body = body

    def __await__(self) -> Generator[Any, Any, object]:
        return self._net.run(self._body)


async def _off_loop(runnable: Runnable, run: Run, call: Callable[[], object]) -> Ending:
    there = contextvars.copy_context()
    there.run(context.inside.set, Inside(run.told))
    value = await in_thread(lambda: there.run(call))
    if isinstance(value, Coroutine):
        value.close()
        name = runnable.spec.name
        raise TypeError(
            f"{name} is a function that is not async, and returned a coroutine: "
            f"make it `async def {name}`"
        )
    return returned(runnable, value, call_id=run.told.id)


def _out_of_time(runnable: Runnable, run: Run, within_s: float | None) -> Ending:
    spec = runnable.spec
    message = f"{spec.name} did not end within {within_s:g} s"
    if spec.timeout_us is None:
        message += ". It may have more: @dispatch.function(timeout=…)"
    _log.warning("%s (call %s)", message, run.told.id)
    return Ending(Status.TIMEOUT, Failure("TimeoutError", message))
