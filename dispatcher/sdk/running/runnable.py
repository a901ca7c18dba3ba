"""A function as it is run: how its input is read, its result written, its errors named."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Protocol

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.functions.spec import Spec
from dispatcher.sdk.replay.model import Failure, Value
from dispatcher.sdk.running.responses import Ending


class Runnable(Protocol):
    """What runs of a function need of it."""

    @property
    def spec(self) -> Spec: ...

    @property
    def is_durable(self) -> bool:
        """What it was judged to be."""
        ...

    def bind(self, input: Value) -> inspect.BoundArguments:
        """The arguments in an input.

        Raises:
            Exception: it does not hold the arguments of this function.
        """
        ...

    def encode(self, value: object) -> Value:
        """A result. Raises Exception where it can't be encoded."""
        ...

    def failure(self, error: BaseException) -> tuple[Status, Failure]:
        """What an exception means that left the body."""
        ...


def bound(runnable: Runnable, input: Value) -> Callable[[], object] | Ending:
    """The body with its arguments, ready to be called; an ending where the input holds others."""
    try:
        arguments = runnable.bind(input)
    except Exception as error:
        _, failure = runnable.failure(error)
        return Ending(Status.INVALID_ARGUMENT, failure)
    body = runnable.spec.body
    return lambda: body(*arguments.args, **arguments.kwargs)


def returned(runnable: Runnable, value: object) -> Ending:
    """How a body ends that returned a value."""
    try:
        return Ending(Status.OK, runnable.encode(value))
    except Exception as error:
        _, failure = runnable.failure(error)
        return Ending(Status.PERMANENT_ERROR, failure)


def raised(runnable: Runnable, error: BaseException) -> Ending:
    """How a run ends whose body raised an exception."""
    status, failure = runnable.failure(error)
    retry_after = getattr(error, "retry_after", None)
    return Ending(status, failure, retry_after if isinstance(retry_after, int | float) else None)
