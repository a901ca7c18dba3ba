"""What is made where a function is called, and begins when it is awaited: an own coroutine.

A coroutine of Python's would do, but for what people do by mistake: one that is never awaited says
what was called and where, and that nothing came of it; one that is awaited twice says so. Its hash
is the same in every replay, so that a set of calls is iterated in the same order.
"""

from __future__ import annotations

import warnings
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, TypeVar

from dispatcher.sdk.functions import durable
from dispatcher.sdk.functions.spec import Place
from dispatcher.sdk.functions.unawaited import Unawaited

T_co = TypeVar("T_co", covariant=True)


class Pending(Unawaited, Coroutine[Any, Any, T_co]):
    """Something to await, once. `what` is how messages call it: "the call of greet".

    `nothing` is what has not happened where it is never awaited: "nothing was dispatched".
    """

    __slots__ = (
        "__name__",
        "__qualname__",
        "__weakref__",
        "_begun",
        "_hash",
        "_loop",
        "_place",
        "_steps",
    )

    def __init__(self, name: str, place: Place) -> None:
        # asyncio shows a coroutine by these two names.
        self.__name__ = self.__qualname__ = name
        self._place = place
        self._begun = False
        self._steps: Generator[Any, Any, T_co] | None = None
        # Whose body it was made in: one that is replayed or evicted warns of nothing.
        self._loop = durable.running()
        self._hash: int | None = None

    def _run(self) -> Generator[Any, Any, T_co]:
        raise NotImplementedError

    @property
    def what(self) -> str:
        """What this is, in messages: "the call of greet"."""
        return f"the {self.__name__}"

    @property
    def _nothing(self) -> str:
        return "nothing was done"

    def __await__(self) -> Generator[Any, Any, T_co]:
        self._begin()
        return self._run()

    def send(self, value: Any, /) -> Any:
        if self._steps is None:
            self._begin()
            self._steps = self._run()
        return self._steps.send(value)

    def throw(
        self,
        kind: Any,
        value: Any = None,
        traceback: TracebackType | None = None,
        /,
    ) -> Any:
        if self._steps is None:
            self._begin()
            self._steps = self._run()
        error = kind if isinstance(kind, BaseException) else value or kind()
        return self._steps.throw(error.with_traceback(traceback) if traceback else error)

    def close(self) -> None:
        self._begun = True
        if self._steps is not None:
            self._steps.close()

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError(
                f"{self.what} made at {self._place} was awaited before: each `await` needs a call "
                f"of its own. To wait for one in several places, make it a task: "
                f"asyncio.create_task(…)."
            )
        self._begun = True

    def __hash__(self) -> int:
        if self._hash is None:
            here = durable.running()
            self._hash = id(self) >> 4 if here is None else here.next_hash()
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other

    def __del__(self) -> None:
        # Half made where __init__ was left by an error.
        if not getattr(self, "_begun", True) and not durable.is_silent(self._loop):
            warnings.warn_explicit(
                f"{self.what} made at {self._place} was never awaited: {self._nothing}. "
                "Write `await` before it.",
                RuntimeWarning,
                self._place.file,
                self._place.line,
            )

    def __repr__(self) -> str:
        state = "begun" if self._begun else "not awaited yet"
        return f"<{self.what} made at {self._place}, {state}>"
