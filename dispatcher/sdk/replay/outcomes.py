"""What a body wants, once it waits everywhere or has ended."""

from __future__ import annotations

import asyncio

from dispatcher.sdk.replay import faults
from dispatcher.sdk.replay.body import Body
from dispatcher.sdk.replay.foreign import other_loop_in
from dispatcher.sdk.replay.model import (
    Became,
    Faulted,
    Kind,
    Outcome,
    Raised,
    Returned,
    Suspended,
    TailCall,
)
from dispatcher.sdk.replay.tasks import Task
from dispatcher.sdk.replay.where import raised_at


def outcome_of(body: Body) -> Outcome:
    """Return it. What it names as new, or as cancelled, no later outcome does."""
    loop, issuing, root = body.loop, body.issuing, body.root
    if loop.fault is not None:
        return loop.fault
    assert root is not None
    cancelled = body.take_cancelled()
    calls, steps = [list(issuing.take_new(kind)) for kind in (Kind.CALL, Kind.STEP)]
    issuing.told()
    if root.done() and not calls:
        return _end_of(body, root, cancelled)
    if not (root.done() or issuing.open or loop.timers):
        return Faulted(faults.waits_for_nothing(loop.told, loop.standing()))
    return Suspended(
        calls=calls,
        steps=() if root.done() else steps,
        cancelled=cancelled,
        wake_us=_wake_us(body),
        outstanding=issuing.calls,
        missing=issuing.missing(),
    )


def _wake_us(body: Body) -> int | None:
    if body.is_done:
        return body.loop.time_us()  # it made calls as it ended: it ends once they are made
    at_ms = body.loop.timers.next_ms()
    return None if at_ms is None else body.issuing.writer.started_us + at_ms * 1000


def _end_of(body: Body, root: Task, cancelled: list[int]) -> Outcome:
    try:
        error = root.exception()
    except asyncio.CancelledError as cancellation:
        return Raised(cancellation, cancelled, was_asked=body.is_cancelled)
    if error is None:
        return Returned(root.result(), cancelled)
    if isinstance(error, TailCall):
        return Became(error.operation, cancelled)
    if (other := other_loop_in(error)) is not None:
        at = raised_at(other.__traceback__)
        return Faulted(faults.of_another_loop(body.loop.told, other, at))
    return Raised(error, cancelled)
