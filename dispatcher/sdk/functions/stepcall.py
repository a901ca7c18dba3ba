"""Functions that can be steps, and how they are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from dispatcher.sdk.functions import marks, naming
from dispatcher.sdk.functions.callee import Callee
from dispatcher.sdk.functions.pending import Pending


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(type(fn), "__call__", None)  # noqa: B004  an object whose calls are async
    )


def called(fn: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]) -> Any:
    """Call it: on the application's loop if it `is_async`, in a thread otherwise."""
    came = fn(*args, **kwargs)
    if not is_async(fn) and inspect.isawaitable(came):
        if inspect.iscoroutine(came):
            came.close()
        raise TypeError(
            f"{naming.shown(fn)} was taken for a function that is not async, so it ran in a "
            f"thread, and returned something to await: wrap it, `async def do(): return await …`, "
            f"and make that the step."
        )
    return came


def refuse_unfit(fn: object) -> None:
    """Raise TypeError for what can't be a step, and say what to write instead."""
    if isinstance(fn, Callee):
        raise TypeError(
            f"{fn.name} is a function of dispatch, and recorded without a step: write "
            f"`await {fn.name}(…)`, or `await dispatch.step({fn.name}.local, …)` to run it here."
        )
    if isinstance(getattr(fn, marks.ATTRIBUTE, None), marks.Mark) and callable(fn):
        raise TypeError(
            f"{naming.shown(fn)} is durable by itself: await it without a step around it."
        )
    if isinstance(fn, Pending) or inspect.isawaitable(fn):
        name = getattr(fn, "__qualname__", "fetch")
        if inspect.iscoroutine(fn) or isinstance(fn, Pending):
            fn.close()
        raise TypeError(
            f"a step is given a function and its arguments, which it calls itself: write "
            f"dispatch.step({name}, …) in place of dispatch.step({name}(…))."
        )
    if not callable(fn):
        raise TypeError(
            f"a step is given a function and its arguments, as dispatch.step(fetch, url), "
            f"and was given {fn!r}."
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(
            f"{naming.shown(fn)} yields, and a step has one result: let it return a list."
        )
