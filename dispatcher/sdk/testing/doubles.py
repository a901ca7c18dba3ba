"""What stands in for functions in a test: errors that they end with, and code in their place."""

from __future__ import annotations

import inspect
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dispatcher.sdk.functions import naming
from dispatcher.sdk.functions.callee import Callee

Stub = Callable[..., object]


@dataclass(slots=True)
class Doubles:
    """By the names of functions and of steps. Errors come before stubs, and are used up."""

    errors: defaultdict[str, deque[BaseException]] = field(
        default_factory=lambda: defaultdict(deque)
    )
    stubs: dict[str, Stub] = field(default_factory=dict)

    def fail(self, name: str, error: BaseException | type[BaseException], times: int) -> None:
        """Have the next `times` runs end with `error`."""
        if times < 1:
            raise ValueError(f"times= must be 1 or more, and is {times!r}.")
        if not (isinstance(error, BaseException) or _is_class_of_errors(error)):
            raise TypeError(f"{name} can't fail with {error!r}: write an exception.")
        self.errors[name].extend([error() if isinstance(error, type) else error] * times)

    def stub(self, name: str, code: Stub) -> None:
        """Have `code` run in place of it."""
        if not callable(code):
            raise TypeError(f"The stub of {name} is {code!r}: write a function, as lambda x: 1.")
        self.stubs[name] = code

    def take(self, other: Doubles) -> None:
        """Have the same as `other`."""
        for name, errors in other.errors.items():
            self.errors[name] = errors.copy()
        self.stubs = dict(other.stubs)

    def of(self, name: str) -> Stub | None:
        """What runs in place of `name` this time, None where it is to run itself."""
        if self.errors[name]:
            error = self.errors[name].popleft()
            return lambda *_, **__: _raise(error)
        return self.stubs.get(name)


def name_of(what: object) -> str:
    """The name of a function, or of what a step runs, as it is on record."""
    if isinstance(what, str):
        return what
    if isinstance(what, Callee):
        return what.name
    if callable(what):
        return naming.fitting(naming.shown(what))
    raise TypeError(f"{what!r} is no function: write one, what a step runs, or a step's name.")


async def awaited(code: Stub, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    """Call `code`, and wait for what it returns where that can be awaited."""
    value = code(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


def _is_class_of_errors(error: object) -> bool:
    return isinstance(error, type) and issubclass(error, BaseException)


def _raise(error: BaseException) -> object:
    raise error
