"""Options that do not exist: a TypeError that says where what they ask for belongs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

OF_CALLS: Final = {
    "retries": "calls are tried again until their expiration=, if the class of their error says "
    "that it passes; a step has dispatch.step.options(retries=…)."
}


def refuse_unknown(
    what: str, unknown: Iterable[str], known: Iterable[str], hints: Mapping[str, str]
) -> None:
    """Raise TypeError where there are `unknown` options. `what` has them: "step.options"."""
    for name in unknown:
        close = get_close_matches(name, known, 1)
        meant = f"did you mean {close[0]}=?" if close else ""
        hint = hints.get(name, meant)
        raise TypeError(f"{what} has no {name}={': ' if hint else ''}{hint or '.'}")


def explained(what: str, **hints: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function explain arguments that it does not have."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = inspect.signature(function).parameters.keys()

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            refuse_unknown(what, kwargs.keys() - known, known, hints)
            return function(*args, **kwargs)

        return call

    return decorate
