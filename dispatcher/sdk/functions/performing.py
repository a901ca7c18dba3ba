"""Operations, awaited: recorded by the loop of a durable body, handed to the net of a plain one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

from dispatcher.sdk.errors import exception_of
from dispatcher.sdk.functions import context, durable
from dispatcher.sdk.replay.model import Failure, Kind, Operation, Result, StepRun, Value
from dispatcher.sdk.values import decode, encode


def is_inside() -> bool:
    """Whether the code here belongs to a call: to a durable body, a plain one, or a step."""
    return durable.running() is not None or context.inside.get() is not None


def performed(operation: Operation) -> Generator[Any, Any, Result]:
    """Wait for an operation inside of a call, and return its result.

    Raises:
        RuntimeError: the body can't wait: it is not async.
    """
    loop = durable.running()
    if loop is not None:
        return (yield from loop.perform(operation))
    here = context.inside.get()
    assert here is not None
    if here.net is None:
        raise RuntimeError(
            f"{here.told.function} can't wait for {operation.function}, called at "
            f"{operation.site}: it runs in a thread. Make it `async def`, and write "
            f"`await` in its body itself, without asyncio.run()."
        )
    return (yield from here.net.met(operation))


def outcome(result: Result, hint: object) -> Any:
    """Return the value of a result as `hint` says, or raise its error."""
    if isinstance(result, Failure):
        raise exception_of(result)
    return decode(result, hint)


def as_step(
    name: str, call: Callable[[], Awaitable[Any]], *, hint: object, site: str, input: Value
) -> Generator[Any, Any, Any]:
    """Await what `call` returns; in a durable body as a step, which is done once.

    `hint` is the type of its result, `input` what makes it different from other steps.
    """
    loop = durable.running()
    if loop is None:
        return (yield from call().__await__())
    run = StepRun(call=call, encode=partial(encode, hint=hint), is_async=True)
    operation = Operation(Kind.STEP, name, site, input=input, carrier=run)
    return outcome((yield from loop.perform(operation)), hint)
