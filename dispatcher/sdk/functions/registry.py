"""The functions of an application by their names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dispatcher.sdk.functions import naming
from dispatcher.sdk.functions.callee import Callee
from dispatcher.sdk.functions.function import Function


def by_name(functions: Iterable[Function[..., Any]]) -> dict[str, Function[..., Any]]:
    """Return functions by their names on the wire. The same function twice is one.

    Raises:
        TypeError: one is not a function of dispatch.
        ValueError: two have the same name.
    """
    known: dict[str, Function[..., Any]] = {}
    for function in functions:
        _refuse_others(function)
        other = known.setdefault(function.name, function)
        if other is not function and other.spec is not function.spec:
            raise ValueError(_clash(other, function))
    return known


def _refuse_others(function: object) -> None:
    if isinstance(function, Function):
        return
    if isinstance(function, Callee):
        raise TypeError(
            f"{function.name} is a function of another application (dispatch.remote): it can be "
            f"called from here, and is run there."
        )
    if callable(function):
        raise TypeError(
            f"{naming.shown(function)} is no function of dispatch: put @dispatch.function above it."
        )
    raise TypeError(
        f"an application is given functions, as Dispatch(greet, welcome), and was given "
        f"{function!r:.80}."
    )


def _clash(one: Function[..., Any], two: Function[..., Any]) -> str:
    if one.spec.place == two.spec.place:
        return (
            f"{one.name} was made twice at {one.spec.place}, each time the function around it ran, "
            f"and a call could mean either: define it at the top of the module."
        )
    return (
        f"two functions are named {one.name}, at {one.spec.place} and at {two.spec.place}: give "
        f'one another name, @dispatch.function(name="…").'
    )
