"""What is said of a value that can't be sent as it stands."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import is_dataclass
from enum import Enum

from dispatcher.sdk.values.misfit import Misfit, named, shown


def refuse(value: object) -> object:
    """The fallback of values that come back as what they were, or not at all. Raises Misfit."""
    if isinstance(value, type) or callable(value):
        raise Misfit(f"is {_what(value)}, which can't be sent: send what it can be looked up by")
    if isinstance(value, Awaitable):
        raise Misfit(f"is {shown(value)}")
    kind = type(value)
    if is_dataclass(kind) or isinstance(value, Enum) or hasattr(kind, "model_fields"):
        raise Misfit(
            f"is {shown(value)}, which would not come back as one: write the type hint "
            f"{kind.__name__} for it"
        )
    raise Misfit(
        f"is {shown(value)}, which can't be sent: send a number, a text, a list, a dict or a "
        "dataclass of these, or what it can be looked up by"
    )


def _what(value: object) -> str:
    if isinstance(value, type):
        return f"the class {named(value)}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    return shown(value)
