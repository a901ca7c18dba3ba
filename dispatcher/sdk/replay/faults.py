"""What is said where a durable body does what it must not, and what to write instead.

Each is said on the first run: a replay would only find something else, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.sdk.replay.model import Told
from dispatcher.sdk.replay.where import Spot


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


def of_another_loop(told: Told, error: BaseException, at: Spot | None) -> str:
    """The body waited for something of another loop, and asyncio or a library said `error`."""
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
