"""`@dispatch.function`, and what it refuses."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Literal, ParamSpec, Protocol, TypeVar, overload

from dispatcher.sdk.errors import Errors, checked
from dispatcher.sdk.functions import naming
from dispatcher.sdk.functions.durations import Seconds
from dispatcher.sdk.functions.function import AsyncFunction, Function, SyncFunction
from dispatcher.sdk.functions.options import expiration_us, timeout_us
from dispatcher.sdk.functions.refusals import refuse_unfit
from dispatcher.sdk.functions.spec import OnChange, Place, Spec
from dispatcher.sdk.functions.unknown import OF_CALLS, refuse_unknown

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """What `@dispatch.function(...)` with arguments is."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is the right one
        self, body: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncFunction[P, R]: ...

    @overload
    def __call__(self, body: Callable[P, R], /) -> SyncFunction[P, R]: ...


@overload
def function(  # type: ignore[overload-overlap]  # as above
    body: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncFunction[P, R]: ...


@overload
def function(body: Callable[P, R], /) -> SyncFunction[P, R]: ...


@overload
def function(
    *,
    name: str | None = None,
    durable: bool | None = None,
    timeout: Seconds | None = None,
    expiration: Seconds | None = None,
    errors: Errors | None = None,
    on_change: Literal["restart", "wait", "fail"] = "restart",
    input_checked: bool = True,
) -> Decorator: ...


def function(
    body: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    durable: bool | None = None,
    timeout: Seconds | None = None,
    expiration: Seconds | None = None,
    errors: Errors | None = None,
    on_change: Literal["restart", "wait", "fail"] = "restart",
    input_checked: bool = True,
    **others: object,
) -> Any:
    """Make a function one that can be called durably: `@dispatch.function`, with or without
    arguments, on `async def` and `def`.

    Args:
        name: what it is called on the wire; its `__qualname__` if nothing is said.
        durable: whether its body is replayed (makes durable calls, does no I/O by itself). None:
            decided by what it names; `dispatch.describe(f)` says how and why.
        timeout: seconds or a timedelta that one run of it may take, 1 ms to 24 hours.
        expiration: seconds or a timedelta until a call fails, its retries and waits included.
        errors: what exceptions mean, as `{KeyError: dispatch.NotFoundError}`: an error of this
            package, a Status, or a function from the exception to one. Not for durable functions.
        on_change: what becomes of a suspended call whose function no longer fits its record: it
            begins anew ("restart"), is tried again later ("wait"), or fails ("fail").
        input_checked: False lets a replay go on where the arguments of a call of this function are
            others than on record.

    Raises:
        TypeError, ValueError: this can't be run durably, or an argument means nothing.
    """
    refuse_unknown("@dispatch.function", others, _OPTIONS, OF_CALLS)
    if body is not None and not callable(body) and not isinstance(body, staticmethod | classmethod):
        raise TypeError(
            f"@dispatch.function was given {body!r}: its arguments have names, as in "
            f'@dispatch.function(name="greet").'
        )

    def decorate(body: Callable[..., Any]) -> Function[..., Any]:
        refuse_unfit(body, name)
        what = naming.shown(body)
        spec = Spec(
            name=naming.fitting(what) if name is None else naming.checked(name, of=what),
            body=body,
            is_async=is_async(body),
            place=_place(body),
            durable=_yes_or_no(durable, "durable="),
            timeout_us=timeout_us(timeout),
            expiration_us=expiration_us(expiration),
            errors=_errors(errors),
            on_change=_on_change(on_change),
            is_input_checked=_yes_or_no(input_checked, "input_checked=") is not False,
        )
        return AsyncFunction(spec) if spec.is_async else SyncFunction(spec)

    return decorate if body is None else decorate(body)


_OPTIONS: Final = [
    name
    for name, one in inspect.signature(function).parameters.items()
    if one.kind is one.KEYWORD_ONLY
]


def is_async(body: Callable[..., Any]) -> bool:
    """Whether the function is `async def`, behind what is wrapped around it."""
    inmost: Any = inspect.unwrap(body)
    while isinstance(inmost, functools.partial):
        inmost = inspect.unwrap(inmost.func)
    calls = inspect.getattr_static(type(inmost), "__call__", None)
    return inspect.iscoroutinefunction(inmost) or inspect.iscoroutinefunction(calls)


def _place(body: Callable[..., Any]) -> Place:
    code = getattr(inspect.unwrap(body), "__code__", None)
    if code is None:
        return Place(f"<{naming.shown(body)}>", 0)
    return Place(code.co_filename, code.co_firstlineno)


def _yes_or_no(value: object, what: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, and is {value!r}.")
    return value


def _errors(value: object) -> Errors:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(
            f"errors= must be a dict, as {{KeyError: dispatch.NotFoundError}}, and is {value!r}."
        )
    return checked(value)


def _on_change(value: object) -> OnChange:
    try:
        return OnChange(value)
    except ValueError:
        raise ValueError(
            f'on_change= must be "restart", "wait" or "fail", and is {value!r}.'
        ) from None
