"""What can't be made a function, and what to write instead."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from dispatcher.sdk.functions import naming
from dispatcher.sdk.functions.callee import Callee


def refuse_unfit(body: Callable[..., Any], name: str | None) -> None:
    """Raise TypeError for what `@dispatch.function` can't be put on.

    `name` is what its author called it, None for nothing.
    """
    reason = _reason(body, name)
    if reason is not None:
        raise TypeError(reason)


def _reason(body: Callable[..., Any], name: str | None) -> str | None:
    if isinstance(body, staticmethod | classmethod):
        kind = type(body).__name__
        return f"@dispatch.function stands above @{kind} on {naming.shown(body.__func__)}: " + (
            "write it below." if kind == "staticmethod" else _NO_METHODS
        )
    what = naming.shown(body)
    if isinstance(body, Callee):
        return f"{body.name} is a function of dispatch already: leave one @dispatch.function out."
    if inspect.isclass(body):
        return f"{what} is a class: decorate a function, which may make objects of it."
    if inspect.isasyncgenfunction(body) or inspect.isgeneratorfunction(body):
        return (
            f"{what} yields, and a call has one result: return a list, or take what is to be done "
            f"with each item into the function."
        )
    return _reason_by_its_name(body, name, what)


_NO_METHODS = (
    "a call names a function and its arguments, and no object: decorate a function of the module, "
    "and give it what it needs as arguments."
)


def _reason_by_its_name(body: Callable[..., Any], name: str | None, what: str) -> str | None:
    if _is_method(body, what):
        return f"{what} is a method: {_NO_METHODS}"
    if name is None and what.rpartition(".")[2] == "<lambda>":
        return 'a lambda has no name to be called by: write `def`, or @dispatch.function(name="…").'
    if name is None and isinstance(body, functools.partial):
        return f'a partial of {what} has no name of its own: write @dispatch.function(name="…").'
    return None


def _is_method(body: Callable[..., Any], what: str) -> bool:
    """Whether it stands in a class and takes the object, or is bound to one."""
    if inspect.ismethod(body):
        return True
    if not what.rpartition(".")[0] or what.rpartition(".")[0].endswith("<locals>"):
        return False
    code = getattr(body, "__code__", None)
    return code is not None and code.co_varnames[: min(1, code.co_argcount)] in (
        ("self",),
        ("cls",),
    )
