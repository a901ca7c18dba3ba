"""Why a call has not ended yet, in a sentence for people. Pure: what is known comes in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, assert_never

from dispatcher.functions.endpoints import CHANNEL, PROMISE
from dispatcher.functions.lanes.gates import Closed, Gate
from dispatcher.functions.lanes.lane import Lane
from dispatcher.functions.model import Call
from dispatcher.functions.runs.under_way import Run
from dispatcher.functions.shown import CallState, CallView, ExplanationView, WaitingReason

_HAS_ENDED: Final = {
    CallState.SUCCEEDED: WaitingReason.SUCCEEDED,
    CallState.FAILED: WaitingReason.FAILED,
    CallState.EXPIRED: WaitingReason.EXPIRED,
    CallState.CANCELLED: WaitingReason.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Why:
    """A reason; instants are microseconds since the epoch, by the wall clock."""

    reason: WaitingReason
    message: str
    until_us: int | None = None
    expected_us: int | None = None


def has_ended(view: CallView) -> Why:
    """Of a call that has ended."""
    reason = _HAS_ENDED[view.state]
    match reason:
        case WaitingReason.SUCCEEDED:
            return Why(reason, "It succeeded.")
        case WaitingReason.FAILED:
            text = f"It failed: {view.last_error}."
        case WaitingReason.EXPIRED:
            text = "It expired before it had ended."
        case _:
            return Why(reason, "It was cancelled.")
    if view.parent_id is None:
        text += " Its dead letter can be redriven: then it runs again from its input."
    return Why(reason, text)


def is_under_way(run: Run, attempt: int) -> Why:
    """Of a call that is being run."""
    if run.answer is not None:
        text = "Its application has answered; what follows is not on disk yet."
    elif not run.started_us:
        text = "It has its turn; its request is being made, or waits for somebody to fetch it."
    else:
        return Why(WaitingReason.IN_FLIGHT, f"Attempt {attempt} is under way.", run.ends_us)
    return Why(WaitingReason.IN_FLIGHT, text)


def waits_outside(endpoint: str) -> Why:
    """Of a promise, or of a call that takes a value of a channel."""
    for kind, path in ((PROMISE, "promises"), (CHANNEL, "channels")):
        if endpoint.startswith(kind):
            name = endpoint.removeprefix(kind)
            text = f"It waits for a value from outside, by POST /v1/{path}/{name}."
            return Why(WaitingReason.OUTSIDE, text)
    raise AssertionError(f"{endpoint} is run")


def is_suspended(call: Call, children: str) -> Why:
    """Of a call that waits for others, or sleeps.

    Args:
        call: it has a poll.
        children: some of those that it waits for, by name.
    """
    due_us = call.poll_due_us or None
    if not call.children:
        slow = " It polls again and again with nothing to wait for, and is slowed down."
        text = "It sleeps until then." + (slow if call.idle else "")
        return Why(WaitingReason.SLEEPS, text, due_us, due_us)
    there, outstanding = len(call.results), len(call.children)
    needed = max(1, min(call.min_results, there + outstanding) - there)
    has = f"; {there} more have ended" if there else ""
    text = (
        f"It waits for {_calls(outstanding)}: {children}{has}. It is resumed when {needed} of them "
        f"{'has' if needed == 1 else 'have'} ended, or one fails"
    )
    text += "." if due_us is None else ", and at the latest then."
    return Why(WaitingReason.WAITS_FOR_CALLS, text, due_us)


def waits_for_its_time(
    call: Call, due_us: int, *, last_error: str | None, is_lacking: bool, shut: Why | None
) -> Why:
    """Of a call that is run at a time, or later.

    Args:
        call: it is due, but not yet.
        due_us: when it is, by the wall clock.
        last_error: what its last run came to, if it failed.
        is_lacking: no call is run before then.
        shut: what holds its application up at that time, as far as that is known now.
    """
    if is_lacking:
        text = "What the last runs came to could not be stored; no call is run before then."
        return Why(WaitingReason.LACKING, text, due_us, due_us)
    if shut is not None and shut.reason is WaitingReason.DESTINATION_HELD:
        return shut
    if call.attempts:
        error = "" if last_error is None else f" ({last_error})"
        text = f"Attempt {call.attempts} failed{error}; the next one is not made before then."
    elif call.restarts:
        text = "It begins anew from its input, not before then: its state was of no use."
    elif not call.step:
        text = "Its first run is not made before then, as it was dispatched with a delay."
    else:
        text = "Its next run is not made before then."
    if shut is None:
        return Why(WaitingReason.SCHEDULED, text, due_us, due_us)
    text += " Its application is left alone for longer."
    return Why(WaitingReason.SCHEDULED, text, due_us, shut.until_us)


def is_held_up(closed: Closed, lane: Lane, function: str, until_us: int | None) -> Why:
    """Of a call that is due, and that a gate holds up until an instant by the wall clock."""
    name, others = lane.name, _others(lane)
    expected_us = until_us if lane.waiting <= 1 else None
    match closed.gate:
        case Gate.HOLD:
            text = f"An operator holds {name}; resume it to run its calls again."
            return Why(WaitingReason.DESTINATION_HELD, text)
        case Gate.PAUSE:
            text = f"{name} asked to be left alone (Retry-After), or this machine lacked something"
            return Why(WaitingReason.RETRY_AFTER, f"{text}; {others}.", until_us, expected_us)
        case Gate.BREAKER if until_us is None:
            text = f"{name} failed too often; one call is being run to see if it is up"
            return Why(WaitingReason.BREAKER_OPEN, f"{text}; {others}.")
        case Gate.BREAKER:
            text = f"{name} failed too often; no call is run there until it is tried again"
            return Why(WaitingReason.BREAKER_OPEN, f"{text}; {others}.", until_us, expected_us)
        case Gate.RATE:
            assert lane.bucket is not None, "or it has no rate"
            text = f"{name} gets {lane.bucket.rate} at most by its rule, and has had as many"
            return Why(WaitingReason.RATE_REACHED, f"{text}; {others}.", until_us, expected_us)
        case Gate.LIMIT:
            most = min(lane.most, lane.concurrency or lane.most)
            text = f"{name} has {lane.in_flight} runs in flight, and {most} is its limit now"
            return Why(WaitingReason.LIMIT_REACHED, f"{text}; {others}.")
        case Gate.FUNCTION_PAUSE:
            text = f"{function} asked to be left alone (Retry-After)"
            return Why(WaitingReason.THROTTLED, f"{text}; {others}.", until_us, expected_us)
        case Gate.FUNCTION_LIMIT:
            running = lane.functions[function].in_flight
            text = f"{function} is throttled: it has {running} runs in flight, as many as it may"
            return Why(WaitingReason.THROTTLED, f"{text}; {others}.")
        case Gate.FETCH:
            text = f"It waits until somebody fetches it from {name}; {others}."
            return Why(WaitingReason.NOT_FETCHED, text)
        case Gate.WORKERS:
            text = f"It waits for its turn: all of CALL_WORKER are busy; {others}."
            return Why(WaitingReason.WAITING_TURN, text)
    assert_never(closed.gate)


def waits_for_turn(lane: Lane | None) -> Why:
    """Of a call that nothing else holds up."""
    others = "no other call waits for its application" if lane is None else _others(lane)
    return Why(WaitingReason.WAITING_TURN, f"It waits for its turn: {others}.")


def until_it_ends(why: Why, call: Call) -> Why:
    """The same of a call that was asked to end, or that expires before what it waits for."""
    if call.cancelling:
        why = replace(why, message=f"It was asked to end, and may clean up. {why.message}")
    next_us = why.expected_us or why.until_us
    if next_us is None or next_us < call.expires_us or why.reason is WaitingReason.IN_FLIGHT:
        return why
    return replace(why, message=f"{why.message} It expires before that.", expected_us=None)


def explained(view: CallView, why: Why) -> ExplanationView:
    """As it is told."""
    return ExplanationView(
        view.id, view.state, why.reason, why.message, why.until_us, why.expected_us
    )


def _calls(count: int) -> str:
    return "one call" if count == 1 else f"{count} calls"


def _others(lane: Lane) -> str:
    """Those of its lane but for itself."""
    count = max(0, lane.waiting - 1)
    if not count:
        return "no other call waits for its application"
    return f"{count} other call{' waits' if count == 1 else 's wait'} for its application"
