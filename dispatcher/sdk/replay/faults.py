"""What is said where a durable body does what it must not, and what to write instead.

Each is said on the first run: a replay would only find something else, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.sdk.replay.model import Told
from dispatcher.sdk.replay.where import Spot, raised_at


class Stopped(BaseException):
    """Raised in a body that can't go on: it has contradicted its record, or did what it must not.
    Caught or not, the body runs no further than to where it next waits."""


def does_io(told: Told, what: str, at: Spot | None, *, judged: str = "") -> str:
    """The body, or a library that it calls, asked its loop for I/O. `judged` says why the function
    was taken for a durable one."""
    who = f"{at.library} {what}" if at is not None and at.library else f"it {what}"
    thread = "thread" in what
    instead = (
        "`await dispatch.step(fn, …)` runs `fn` in a thread, and records its result."
        if thread
        else "Make it a step, `await dispatch.step(fn, …)`, or move it to a function of its own."
    )
    return (
        f"{_name(told)} is durable, and does I/O by itself: {who}{_at(at)}. A durable function is "
        f"replayed, and would do it again each time. {instead} {judged}".rstrip()
    )


def waits_for_nothing(told: Told, standing: Sequence[str]) -> str:
    """All of the body waits, and nothing that it waits for can come."""
    return (
        f"{_name(told)} waits for something that nothing durable will bring: "
        + "; ".join(standing)
        + ". A result from outside is awaited with dispatch.promise(…), what runs in a thread with "
        "`await dispatch.step(fn, …)`."
    )


def never_waits(told: Told, turns: int, standing: Sequence[str]) -> str:
    """The body goes round without waiting for anything."""
    return (
        f"{_name(told)} does not end, and waits for nothing: it has gone round {turns:,} times ("
        + "; ".join(standing)
        + "). In a loop that waits for something, wait with `await dispatch.sleep(seconds)`."
    )


def used_from_outside(told: Told, at: Spot | None, standing: Sequence[str] = ()) -> str:
    """Something that belongs to a suspended body was used by code that is not part of it. Where
    that is no line of the user's, a thread of a library, `standing` says what the body waits for.
    """
    waits = f" ({'; '.join(standing)})" if standing else ""
    return (
        f"A future, a task or a lock of {_name(told)} was used from outside of it"
        f"{_at(at)}, while it was suspended or by a thread{waits}. What wakes a durable function "
        "has to be on record: await a dispatch.promise(…) and resolve that, or use `dispatch.step`."
    )


_OF_ANOTHER_LOOP = (
    "different event loop",  # a lock, a queue, a connection of httpx or anyio
    "attached to a different loop",  # a future or a task
    "belongs to a different loop",  # asyncio.gather
    "should be used inside a task",  # aiohttp asks for the current task of the loop it was made in
    "Event loop is closed",
)


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


def of_another_loop(told: Told, error: BaseException) -> str:
    """An error that `other_loop_in` has found left the body."""
    at = raised_at(error.__traceback__)
    return (
        f"{_name(told)} is durable, and uses something that belongs to another event loop, such as "
        f"a client, a connection or a lock that is shared{_at(at)}: {error}. Use it in a step, "
        "`await dispatch.step(fn, …)`, or in a function of its own; a lock has to be made in the "
        "function that uses it."
    )


def _name(told: Told) -> str:
    return f"{told.function} (call {told.id})"


def _at(at: Spot | None) -> str:
    return f", called at {at.site} in {at.function}" if at is not None else ""
