"""A function as an application runs it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from inspect import BoundArguments
from typing import Any, Final

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.errors import failure_of, retry_after_of
from dispatcher.sdk.functions.deciding.decision import Decision, decide
from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.functions.registry import by_name
from dispatcher.sdk.functions.spec import Spec
from dispatcher.sdk.replay.model import Failure, Value
from dispatcher.sdk.values import decode_arguments, encode

_NO_SECOND_LOOP: Final = "asyncio.run() cannot be called from a running event loop"


class Served:
    """What runs of a function need of it (`running.runnable.Runnable`)."""

    def __init__(self, function: Function[..., Any]) -> None:
        self.function = function

    @property
    def spec(self) -> Spec:
        """The function as it was written."""
        return self.function.spec

    @cached_property
    def decision(self) -> Decision:
        """Whether it is durable, and why. Made when it is first asked for: then every module that
        it uses has to be loaded."""
        return decide(self.spec)

    @property
    def is_durable(self) -> bool:
        """What it was judged to be."""
        return self.decision.is_durable

    @property
    def judged(self) -> str:
        """Why it was taken for a durable one, and how to say that it is none; "" where its author
        said it."""
        if self.spec.durable is not None or not self.is_durable:
            return ""
        return (
            f"It was taken for a durable function, as {self.decision.reason}; if it is none, write "
            "@dispatch.function(durable=False)."
        )

    def bind(self, input: Value) -> BoundArguments:
        """Return the arguments in an input. Raises InvalidArgumentError where it has others."""
        return decode_arguments(input, self.spec.signature)

    def encode(self, value: object) -> Value:
        """Return a result. Raises EncodeError where it can't be sent."""
        returns = self.spec.signature.returns
        return encode(value, returns, f"the result of {self.spec.name}")

    def failure(self, error: BaseException) -> tuple[Status, Failure]:
        """Return what an exception means that left the body."""
        return failure_of(self._taught(error), self.spec.errors)

    def _taught(self, error: BaseException) -> BaseException:
        """What says what to write, where asyncio says only what can't be."""
        if type(error) is not RuntimeError or not str(error).startswith(_NO_SECOND_LOOP):
            return error
        said = (
            f"{self.spec.name} calls asyncio.run() in the event loop that runs it: write `await`."
        )
        return RuntimeError(said).with_traceback(error.__traceback__)

    def retry_after_s(self, error: BaseException) -> float | None:
        """Return how long to wait at least before it is tried again, None: nothing is known."""
        return retry_after_of(error)

    def __repr__(self) -> str:
        return f"<served {self.spec.name}, {self.spec.place}>"


def served(functions: Iterable[Function[..., Any]]) -> dict[str, Served]:
    """Return functions by their names on the wire, to be run. Raises as `registry.by_name` does."""
    return {name: Served(function) for name, function in by_name(functions).items()}
