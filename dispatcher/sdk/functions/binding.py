"""Whether arguments fit a function: errors in the words that Python has for them.

`inspect.Signature.bind` says "missing a required argument: 'name'"; people know "greet() missing 1
required positional argument: 'name'". So a function with the same parameters and no body is made
once and called, which is also ten times as fast.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

_BEFORE: Final[dict[object, str]] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def checker(name: str, signature: inspect.Signature) -> Callable[..., None]:
    """Return what raises TypeError when it is called with arguments that don't fit.

    `name` is what the function is called in the message.
    """
    names: dict[str, Any] = {}
    exec(f"def check({', '.join(_written(signature))}): pass", names)
    check: Callable[..., None] = names["check"]
    check.__qualname__ = check.__name__ = name
    return check


def _written(signature: inspect.Signature) -> Iterator[str]:
    """The parameters as source. A default is never used, so that None stands for each."""
    last = None
    for each in signature.parameters.values():
        if last is each.POSITIONAL_ONLY and each.kind is not each.POSITIONAL_ONLY:
            yield "/"
        if each.kind is each.KEYWORD_ONLY and last not in (each.VAR_POSITIONAL, each.KEYWORD_ONLY):
            yield "*"
        default = "" if each.default is each.empty else "=None"
        yield f"{_BEFORE.get(each.kind, '')}{each.name}{default}"
        last = each.kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        yield "/"
