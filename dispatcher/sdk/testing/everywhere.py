"""`crash_everywhere`, for functions that need nothing to stand in for anything."""

from __future__ import annotations

from typing import ParamSpec, TypeVar

from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.testing.environment import Environment

P = ParamSpec("P")
R = TypeVar("R")


def crash_everywhere(function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function, and again with a crash at another place each time; see
    `Environment.crash_everywhere`, which has stubs and errors as well."""
    with Environment(function) as env:
        return env.crash_everywhere(function, *args, **kwargs)
