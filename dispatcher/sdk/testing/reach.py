"""Which functions a function may call: those that its module, and what it closes over, names.

So a test names the function that it is about, and the others are there.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dispatcher.sdk.functions.function import Function


def reachable(functions: Iterable[Function[..., Any]]) -> list[Function[..., Any]]:
    """Return these functions, and those that they may call, each once. Of two with the same name
    the one that was found first stays."""
    found: dict[str, Function[..., Any]] = {}
    left = list(functions)
    while left:
        function = left.pop(0)
        if function.name not in found:
            found[function.name] = function
            left += _named_by(function.spec.body)
    return list(found.values())


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
