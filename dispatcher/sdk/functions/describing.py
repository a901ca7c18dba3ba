"""What is known of a function, in words: `dispatch.describe(f)`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from dispatcher.sdk.functions.callee import Callee
from dispatcher.sdk.functions.deciding.decision import decide
from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.functions.spec import OnChange, Spec


def describe(function: Callee[..., Any]) -> str:
    """Return what is known of a function: where it is, whether it is durable and why, and what it
    was given.

        >>> print(dispatch.describe(welcome))
        welcome, app.py:8
          durable: it names dispatch.sleep

    Raises:
        TypeError: it is no function of dispatch.
    """
    if not isinstance(function, Callee):
        raise TypeError(
            f"describe() takes a function that has @dispatch.function, and was given {function!r}."
        )
    if not isinstance(function, Function):
        return f"{function.name}, a function of another application"
    return "\n  ".join([f"{function.name}, {function.spec.place}", *_lines(function.spec)])


def _lines(spec: Spec) -> Iterator[str]:
    decision = decide(spec)
    yield str(decision)
    if decision.remark:
        yield decision.remark
    if spec.timeout_us is not None:
        yield f"one run: {timedelta(microseconds=spec.timeout_us)} at most"
    if spec.expiration_us is not None:
        yield f"a call: {timedelta(microseconds=spec.expiration_us)} at most"
    if spec.on_change is not OnChange.RESTART:
        yield f"on_change: {spec.on_change.value}"
    if not spec.is_input_checked:
        yield "input_checked: False"
