"""Which functions a function may call: those that its module, and what it closes over, names.

So a test names the function that it is about, and the others are there.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.callee import Callee
from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.functions.registry import by_name

R = TypeVar("R")


def reachable(functions: Iterable[Function[..., Any]]) -> list[Function[..., Any]]:
    """Return these functions, and those that they may call, each once. Of two with the same name
    the one that was found first stays.

    Raises:
        TypeError, ValueError: one is no function of dispatch, or has the name of another one.
    """
    found: dict[str, Function[..., Any]] = {}
    left = list(by_name(functions).values())
    while left:
        function = left.pop(0)
        if function.name not in found:
            found[function.name] = function
            left += _named_by(function.spec.body)
    return list(found.values())


def built(
    function: Callee[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> BuiltCall[R]:
    """Return the call that a test asks for.

    Raises:
        TypeError: it was given a call, or a function that is not of dispatch.
    """
    if isinstance(function, Callee):
        return function.build_call(*args, **kwargs)
    raise TypeError(
        f"a test names a function of dispatch, and then its arguments, as env.run(greet, 'Ada'), "
        f"and this one names {function!r:.80}."
    )


def _named_by(body: Callable[..., object]) -> Iterator[Function[..., Any]]:
    plain = inspect.unwrap(body)
    module = sys.modules.get(getattr(plain, "__module__", None) or "")
    cells = getattr(plain, "__closure__", None) or ()
    closed = [cell.cell_contents for cell in cells if _is_filled(cell)]
    for value in [*closed, *vars(module).values()] if module else closed:
        if isinstance(value, Function):
            yield value


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # of a function that is defined further down
        return False
    return True
