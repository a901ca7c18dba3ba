"""What stands in for functions in a test: errors that they end with, and code in their place."""

from __future__ import annotations

import inspect
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
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
    given: dict[str, str] = field(default_factory=dict)
    """By name, what gave it: "stub", "fail"."""
    met: set[str] = field(default_factory=set)
    """What has run, here and in environments that have taken these."""

    def fail(self, name: str, error: BaseException | type[BaseException], times: int) -> None:
        """Have the next `times` runs end with `error`."""
        if times < 1:
            raise ValueError(f"times= must be 1 or more, and is {times!r}.")
        if not (isinstance(error, BaseException) or _is_class_of_errors(error)):
            raise TypeError(f"{name} can't fail with {error!r}: write an exception.")
        self.given[name] = "fail"
        self.errors[name].extend([error() if isinstance(error, type) else error] * times)

    def stub(self, name: str, code: Stub) -> None:
        """Have `code` run in place of it."""
        if not callable(code):
            raise TypeError(f"The stub of {name} is {code!r}: write a function, as lambda x: 1.")
        self.given[name] = "stub"
        self.stubs[name] = code

    def take(self, other: Doubles) -> None:
        """Have the same as `other`."""
        for name, errors in other.errors.items():
            self.errors[name] = errors.copy()
        self.stubs = dict(other.stubs)
        self.met = other.met

    def of(self, name: str) -> Stub | None:
        """What runs in place of `name` this time, None where it is to run itself."""
        self.met.add(name)
        if self.errors[name]:
            error = self.errors[name].popleft()
            return lambda *_, **__: _raise(error)
        return self.stubs.get(name)

    def warn_of_unmet(self, functions: Iterable[str]) -> None:
        """Warn, once, of doubles for names that are none of `functions`, and that no step had that
        ran: names of steps are not known before."""
        known = {*functions, *self.met}
        for name, verb in self.given.items():
            if name not in known:
                close = get_close_matches(name, known, 1)
                meant = f" Did you mean {close[0]!r}?" if close else ""
                warnings.warn(
                    f"env.{verb}({name!r}, …) was for nothing: no function here, and no step that "
                    f"ran, has that name.{meant}",
                    stacklevel=4,
                )
        self.given.clear()


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
