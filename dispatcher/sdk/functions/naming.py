"""Names of functions and steps, as the wire has them: a letter (a to z, A to Z) or _, then letters,
digits, _, <, > and dots."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Final

MOST_CHARS: Final = 1_000  # the most that the server takes
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_<>.]*")
_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_<>.]")


def checked(name: object, *, of: str) -> str:
    """Return a name that its author chose. `of` says whose it is, in the error's message.

    Raises:
        TypeError: it is no string.
        ValueError: it does not fit the wire.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of {of} must be a string, and is {name!r}.")
    if _NAME.fullmatch(name) is None or len(name) > MOST_CHARS:
        raise ValueError(
            f"the name of {of} must be a letter (a to z, A to Z) or _, and then letters, digits, "
            f"_, <, > and dots, {MOST_CHARS} at most, and is {name!r}."
        )
    return name


def fitting(qualified: str) -> str:
    """Return a `__qualname__` with _ for each character that the wire does not take."""
    name = _UNFIT.sub("_", qualified)[:MOST_CHARS]
    return name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"


def shown(function: Callable[..., object]) -> str:
    """Return the name of any callable: `fetch`, `Shop.pay`; of an object its class's."""
    if isinstance(function, functools.partial):
        return shown(function.func)
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__
