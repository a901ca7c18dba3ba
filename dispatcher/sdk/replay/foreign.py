"""Errors that say that something belongs to another event loop: a client, a connection, a lock.

A client that is shared keeps its connections, whose futures and locks belong to the loop of the
application. To wait for one of these in a durable body is refused by asyncio with an error that the
body may catch, or a pool or a retry around the request: then the body would go on, although it has
sent a request, and would send it again in every replay. So such an error is looked for where it is
made: of a future here, of a lock in `compat`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

_OF_ANOTHER_LOOP = (
    "different event loop",  # a lock, a queue, a connection of httpx or anyio
    "attached to a different loop",  # a future or a task
    "belongs to a different loop",  # asyncio.gather
    "should be used inside a task",  # aiohttp asks for the current task of the loop it was made in
    "Event loop is closed",
)


def thrown_by(step: Callable[..., object]) -> BaseException | None:
    """Return the error that a step of a task throws into it, because it waits for a future of
    another loop; `step` is what asyncio gives to `call_soon`.

    asyncio has no name for such a step but in C, and the error can only be seen as something that
    it refers to.
    """
    if type(step).__name__ != "TaskStepMethWrapper":
        return None
    for each in gc.get_referents(step):
        if isinstance(each, RuntimeError) and _is_of_another_loop(str(each)):
            return each
    return None


def other_loop_in(error: BaseException) -> BaseException | None:
    """Return what asyncio or a library said of an object of another loop, if `error` is that, or
    was raised because of it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, RuntimeError | ValueError) and _is_of_another_loop(str(each)):
            return each
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        waiting += (each.__cause__, each.__context__)
    return None


def _is_of_another_loop(said: str) -> bool:
    return any(text in said for text in _OF_ANOTHER_LOOP)
