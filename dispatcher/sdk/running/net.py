"""The net below a function that was judged plain and is durable after all.

Its code did not show it, and then it waits for a durable operation. If that is the first thing it
waits for, nothing is lost: it is left where it is, and run anew as a durable one. It is never
moved: its timeouts, groups and tasks belong to the application's loop. Later, or from a task that
it started, is too late, as it may have done what must not be done twice: that is an error which
says what to write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Final

from dispatcher.sdk.functions.spec import Spec
from dispatcher.sdk.replay.model import Evicted, Kind, Operation, Result

_MOST_THROWN: Final = 8
"""How often a body is told to leave that waits once more in its `finally`."""


class MisplacedOperation(RuntimeError):
    """A durable operation where it can't be: in a function that has begun as a plain one."""


class Net:
    """Runs one body on the application's loop. `caught` is the operation that shows that it is a
    durable one, None as long as there is none."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._task = asyncio.current_task()
        self._waited_at: str | None = None
        self.caught: Operation | None = None

    def met(self, operation: Operation) -> Generator[Any, Any, Result]:
        """What waiting for a durable operation does."""
        if self.caught is None:
            self._check(operation)
            self.caught = operation
        while True:  # also in a `finally` on the way out
            yield self

    def run(self, body: Coroutine[Any, Any, object]) -> Generator[Any, Any, object]:
        """Run the body until it ends, or until it was `caught`; then what this returns means
        nothing.

        Raises:
            BaseException: what the body raised.
        """
        try:
            yielded = body.send(None)
            if self.caught is not None:
                self._leave(body)
                return None
            self._waited_at = _line(body)
            return (yield from _rest(body, yielded))
        except StopIteration as stop:
            return stop.value
        except BaseException:
            if self.caught is None:
                raise
            return None

    def _leave(self, body: Coroutine[Any, Any, object]) -> None:
        for _ in range(_MOST_THROWN):
            try:
                body.throw(Evicted())
            except BaseException:  # it has left, with what it made of that
                return

    def _check(self, operation: Operation) -> None:
        """Raise the error that says what to write, where this can't be run anew."""
        name, what = self._spec.name, f"{_SHOWN[operation.kind]} {operation.function}"
        if self._spec.durable is False:
            raise MisplacedOperation(
                f"{name} waits for {what} at {operation.site}, and says durable=False: leave that "
                "out, then it is a durable function, and may wait for this"
            )
        because = None
        if asyncio.current_task() is not self._task:
            because = "from a task that it started"
        elif self._waited_at is not None:
            because = f"after it has waited for something else at {self._waited_at}"
        if because is not None:
            raise MisplacedOperation(
                f"{name} was taken for a plain function, and waits for {what} at "
                f"{operation.site}, {because}: write @dispatch.function(durable=True), and do in "
                "`await dispatch.step(…)` what is not to be done again"
            )


_SHOWN: Final = {
    Kind.CALL: "the call of",
    Kind.STEP: "the step",
    Kind.SLEEP: "the operation",
    Kind.PATCH: "the patch",
}


def _rest(body: Coroutine[Any, Any, object], yielded: object) -> Generator[Any, Any, object]:
    """A coroutine from behind its first wait on (PEP 380)."""
    while True:
        try:
            yield yielded
        except GeneratorExit:
            body.close()
            raise
        except BaseException as error:
            try:
                yielded = body.throw(error)
            except StopIteration as stop:
                return stop.value
        else:
            return (yield from body.__await__())


def _line(body: Coroutine[Any, Any, object]) -> str | None:
    """Where a coroutine waits: the line of its own, not of what it called."""
    frame = getattr(body, "cr_frame", None)
    if frame is None:
        return "another place"
    file = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{file}:{frame.f_lineno}"
