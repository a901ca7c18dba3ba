"""What has to be other in asyncio, and in Python, where a durable loop runs.

The functions are replaced for the whole process, and do what they did wherever another loop runs.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any

from dispatcher.sdk.replay.loop import Loop, running


def install() -> None:
    """Replace what has to be replaced, once."""
    global _is_installed
    if _is_installed:
        return
    _replace("as_completed", _in_order(asyncio.tasks.as_completed))
    if sys.version_info < (3, 12):
        _replace("wait_for", _without_task(asyncio.tasks.wait_for))
    gathering: Any = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]
    gathering.__hash__ = _hash_of_gathering
    bound: Any = asyncio.mixins._LoopBoundMixin
    bound._get_loop = _refusing_foreign(bound._get_loop)
    _silence_unawaited()
    _is_installed = True


_is_installed = False


def _replace(name: str, function: object) -> None:
    """Put `function` in the place of asyncio's, also in modules that have imported it by name."""
    original = getattr(asyncio.tasks, name)
    for module in list(sys.modules.values()):
        names = _names(module)
        for each in [each for each, value in names.items() if value is original]:
            names[each] = function


def _names(module: object) -> dict[str, Any]:
    """The names in a module. A lazy one, which loads itself when it is asked for anything, is not
    asked; some that C code has put among the modules have none."""
    try:
        names = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return names if isinstance(names, dict) else {}


def _in_order(original: Callable[..., Any]) -> Callable[..., Any]:
    """asyncio's `as_completed` walks a set of coroutines, whose hashes are addresses: the order in
    which their tasks begin is another one in each process."""

    @wraps(original)
    def as_completed(fs: Iterable[Awaitable[Any]], *, timeout: float | None = None) -> Any:
        if running() is not None and not asyncio.isfuture(fs) and not asyncio.iscoroutine(fs):
            fs = [asyncio.ensure_future(each) for each in dict.fromkeys(fs)]
        return original(fs, timeout=timeout)

    return as_completed


def _without_task(original: Callable[..., Any]) -> Callable[..., Any]:
    """Until Python 3.11 `wait_for` makes a task, and from 3.12 on it makes none: the same code
    would have other paths, and what one version recorded would not fit another."""

    @wraps(original)
    async def wait_for(fut: Awaitable[Any], timeout: float | None) -> Any:  # noqa: ASYNC109 - as asyncio's
        if running() is None or timeout is None or timeout <= 0:
            return await original(fut, timeout)
        async with asyncio.timeout(timeout):
            return await fut

    return wait_for


def _hash_of_gathering(self: Any) -> int:
    """What `asyncio.gather` returns is no future of the loop, and has its address as hash."""
    loop = self.get_loop()
    if not isinstance(loop, Loop):
        return object.__hash__(self)
    number: int | None = getattr(self, "_durable_hash", None)
    if number is None:
        number = self._durable_hash = loop.next_hash()
    return number


def _refusing_foreign(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A lock, event or queue asks for its loop where it is waited for; that of another loop is a
    fault of the body then, also where the error is caught."""

    @wraps(original)
    def get_loop(self: Any) -> Any:
        try:
            return original(self)
        except RuntimeError as error:
            loop = running()
            if loop is not None:
                loop.refuse_foreign(error)
            raise

    return get_loop


def _silence_unawaited() -> None:
    """A body that ends early, because it is forgotten here, or that was heard of already leaves
    coroutines that it would have awaited. `warnings.catch_warnings` is for one thread alone."""
    module: Any = warnings
    original = module._warn_unawaited_coroutine

    def warn(coroutine: object) -> None:
        loop = running()
        if loop is None or not (loop.is_closing or loop.is_replaying):
            original(coroutine)

    module._warn_unawaited_coroutine = warn
