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


def bound(runnable: Runnable, input: Value, *, call_id: str) -> Callable[[], object] | Ending:
    """The body with its arguments, ready to be called; an ending where the input holds others. Here
    and below what went wrong is in the application's log, too."""
    try:
        arguments = runnable.bind(input)
    except Exception as error:
        return _final(runnable, error, Status.INVALID_ARGUMENT, call_id=call_id)
    body = runnable.spec.body
    return lambda: body(*arguments.args, **arguments.kwargs)


def returned(runnable: Runnable, value: object, *, call_id: str) -> Ending:
    """How a body ends that returned a value."""
    try:
        return Ending(Status.OK, runnable.encode(value))
    except Exception as error:
        return _final(runnable, error, Status.PERMANENT_ERROR, call_id=call_id)


def raised(runnable: Runnable, error: BaseException, *, call_id: str) -> Ending:
    """How a run ends whose body raised an exception."""
    status, failure = runnable.failure(error)
    tell(runnable.spec.name, call_id, error, status=status)
    return Ending(status, failure, runnable.retry_after_s(error))


def _final(runnable: Runnable, error: Exception, status: Status, *, call_id: str) -> Ending:
    _, failure = runnable.failure(error)
    tell(runnable.spec.name, call_id, error, status=status)
    return Ending(status, failure)
