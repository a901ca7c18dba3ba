"""A run that ended with a poll: what it waits for, and what it calls."""

from __future__ import annotations

import zlib
from sys import intern
from typing import Final

from dispatcher.core.retry import delay_ms
from dispatcher.functions import errors, limits
from dispatcher.functions.checking import duration_us, first_problem, timeout_ms
from dispatcher.functions.deciding import appending
from dispatcher.functions.deciding.ended_run import EndedRun
from dispatcher.functions.deciding.keeping import to_keep
from dispatcher.functions.events import NewCall, Polled
from dispatcher.functions.model import StateArm
from dispatcher.functions.spans import length_of
from dispatcher.protocol import messages
from dispatcher.protocol.messages import Poll

_ARMS: Final = {
    None: StateArm.NONE,
    "coroutine_state": StateArm.LEGACY,
    "typed_coroutine_state": StateArm.TYPED,
}


def polled(run: EndedRun, poll: Poll) -> Polled | str:
    """The event of a poll, which extends the state of its call or has a whole one.

    Returns:
        A string, which says why, where the state could never be sent back, or refers to what is not
        there: the call is over.
        A poll whose calls cannot be made has an `error` instead of them.
    """
    call, asked = run.call, run.asked
    arm = arm_of(poll)
    state = appending.piece_of(poll, arm) if poll.extends else _state(poll, arm)
    size_bytes = len(state) + (sum(map(length_of, call.states)) if poll.extends else 0)
    if size_bytes > limits.MOST_PAYLOAD_BYTES:
        return (
            f"the state has {size_bytes} bytes, and {limits.MOST_PAYLOAD_BYTES} is the most that "
            "can be sent back"
        )
    keep = to_keep(call, asked.delivered, poll.keep)
    if isinstance(keep, str):
        return keep
    error = _refusal(run, poll)
    state_crc = poll.state_nonce or zlib.crc32(state, call.state_crc if poll.extends else 0)
    is_refused = error is not None
    is_idle = (is_refused or not poll.calls) and _is_idle(run, poll, arm, state_crc, is_refused)
    idle = call.idle + 1 if is_idle else 0
    return Polled(
        call.key,
        asked.step,
        asked.delivered,
        # Asked to end meanwhile, it has another error than the one that it was told.
        asked.was_told and asked.was_cancelling == call.cancelling,
        arm,
        state,
        state_crc,
        is_appended=bool(poll.extends),
        calls=() if error is not None else tuple(_child(run, new) for new in poll.calls),
        min_results=_within(poll.min_results),
        max_results=_within(poll.max_results),
        due_us=_due_us(run, poll, idle),
        error=error,
        idle=idle,
        keep=keep,
    )


def arm_of(poll: Poll) -> StateArm:
    """In which field its state is."""
    return _ARMS[poll.WhichOneof("state")]


def _state(poll: Poll, arm: StateArm) -> bytes:
    if arm is StateArm.TYPED:
        return poll.typed_coroutine_state.SerializeToString()
    return poll.coroutine_state


def _within(results: int) -> int:
    """SDKs ask for none, or for more than the protocol allows, in good faith."""
    return max(1, min(results, limits.MOST_POLLED))


def _is_idle(run: EndedRun, poll: Poll, arm: StateArm, state_crc: int, is_refused: bool) -> bool:
    """Whether it asks to be resumed at once, right after a resume that brought it nothing, where it
    was already: it would go round for ever. dispatch-go does so after a lost response, when it
    keeps its state in memory; an application that repeats a poll that was refused does too."""
    call, asked = run.call, run.asked
    was_empty = call.is_resume and not asked.delivered and (is_refused or not asked.was_told)
    if not was_empty or arm is not call.arm or state_crc != call.state_crc:
        return False
    if is_refused:
        return True
    return duration_us(poll.max_wait) <= 0 if poll.HasField("max_wait") else not call.children


def _due_us(run: EndedRun, poll: Poll, idle: int) -> int:
    if idle:
        wait_us = delay_ms(idle, run.policy, run.random) * 1000
    elif poll.HasField("max_wait"):
        wait_us = max(0, duration_us(poll.max_wait))
    else:
        return 0
    # It never wakes after it has expired, and a duration may be longer than an instant can hold.
    return run.in_time(run.now_us + wait_us)


def _refusal(run: EndedRun, poll: Poll) -> bytes | None:
    """Why none of its calls is made (a serialized Error), None if they are."""
    call, tree, tree_max = run.call, run.context.tree, run.rules.tree_max
    count = len(poll.calls)
    if not count:
        return None
    if count > limits.MOST_POLLED:
        return errors.error_bytes(
            errors.TOO_MANY_CALLS,
            f"The poll has {count} calls, and {limits.MOST_POLLED} is the most in one poll: "
            "make them in several.",
        )
    if call.depth >= limits.MOST_DEPTH:
        return errors.error_bytes(
            errors.TOO_DEEP,
            f"Calls may be nested {limits.MOST_DEPTH} deep, and {call.function} stands at that "
            "depth: it cannot call anything.",
        )
    if tree + count > tree_max:
        return errors.error_bytes(
            errors.TREE_TOO_LARGE,
            f"The poll has {count} calls, and {tree} of at most {tree_max} calls under one "
            "root were made (CALL_TREE_MAX).",
        )
    problem = first_problem(poll.calls, caller=call.endpoint)
    if problem is None:
        return None
    kind = errors.UNIMPLEMENTED if problem.is_unimplemented else errors.INVALID_CALL
    return errors.error_bytes(kind, f"No call of the poll was made: poll.{problem}")


def _child(run: EndedRun, new: messages.Call) -> NewCall:
    call, now_us = run.call, run.now_us
    delay_us = duration_us(new.delay)
    expires_us = run.rules.expires_us(now_us, duration_us(new.expiration), delay_us)
    return NewCall(
        run.next_key(),
        correlation=new.correlation_id,
        endpoint=intern(new.endpoint) or call.endpoint,
        function=intern(new.function),
        version=intern(new.version),
        created_us=now_us,
        expires_us=min(expires_us, call.expires_us),
        input=new.input.SerializeToString(),
        not_before_us=now_us + delay_us if delay_us else 0,
        timeout_ms=timeout_ms(new),
    )
