"""Inputs of functions that take one value, as those of the Go SDK."""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.sdk.replay.model import Value
from dispatcher.sdk.values import FOREIGN, encode


def plain_input(name: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Value:
    """Return the one value that a function of the Go SDK takes; no argument is none.

    Raises:
        TypeError: there is more than one argument, or it has a name.
        EncodeError: it can't be sent.
    """
    if kwargs or len(args) > 1:
        raise TypeError(
            f"{name}() takes one value, without a name: put several into a dict or a dataclass. "
            f'For functions of dispatch-py write remote(…, style="dispatch-py").'
        )
    return encode(args[0] if args else None, FOREIGN, f"the argument of {name}()")
