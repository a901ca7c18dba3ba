"""A function as it is run: how its input is read, its result written, its errors named."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Protocol

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.functions.spec import Spec
from dispatcher.sdk.replay.model import Failure, Value
from dispatcher.sdk.running.responses import Ending
from dispatcher.sdk.running.telling import tell


class Runnable(Protocol):
    """What runs of a function need of it."""

    @property
    def spec(self) -> Spec: ...

    @property
    def is_durable(self) -> bool:
        """What it was judged to be."""
        ...

    @property
    def judged(self) -> str:
        """Why it was taken for a durable one, and how to say that it is none; "" where its author
        said it."""
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

    def retry_after_s(self, error: BaseException) -> float | None:
        """How long to wait at least before it is tried again; None: nothing is known."""
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


def raised(runnable: Runnable, error: BaseException, *, call_id: str) -> Ending:
    """How a run ends whose body raised an exception. The application's log has it too."""
    status, failure = runnable.failure(error)
    tell(runnable.spec.name, call_id, error, status=status)
    return Ending(status, failure, runnable.retry_after_s(error))
