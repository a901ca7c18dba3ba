"""What a run came to, as a RunResponse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.protocol.messages import (
    Any,
    Exit,
    Poll,
    RunResponse,
)
from dispatcher.protocol.states import OWN_STATE_TYPE
from dispatcher.protocol.statuses import Status, Then
from dispatcher.sdk.replay.model import Failure, Numbered, Operation, Result
from dispatcher.sdk.wire import call_of, call_result_of, duration_of

MOST_BYTES: Final = 16_000_000
"""Of an answer; a server reads no more."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A function has ended, or this run of it: `status` says whether it is tried again, and not
    before `retry_after_s` have passed. `cancelled`: calls that it made and needs no more."""

    status: Status
    result: Result
    retry_after_s: float | None = None
    cancelled: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Passed:
    """Another call takes the place of this one."""

    operation: Operation
    cancelled: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A function is suspended. `state` is whole, or what comes behind the one with the nonce
    `extends`. It is resumed after `wait_us` at the latest, None: when results are there. `process`
    says that the state is kept here; `kept` are the results that the server is to keep."""

    state: bytes
    nonce: int
    extends: int = 0
    calls: Sequence[Numbered] = ()
    cancelled: Sequence[int] = ()
    wait_us: int | None = None
    min_results: int = 1
    max_results: int = 1
    process: str = ""
    kept: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in bytes. `may_repeat`: the same request has the same answer another time; where
    the function is to be tried again it has not. `retry_after_s`: whole seconds, 0 for none.
    `is_waiting`: the function is suspended."""

    body: bytes
    may_repeat: bool
    retry_after_s: int = 0
    is_waiting: bool = False


def reply_of(came: Ending | Passed | Waiting) -> Reply:
    """Write an answer. One that is larger than a server reads is an error that says so."""
    response = response_of(came)
    body = response.SerializeToString()
    if len(body) > MOST_BYTES:
        return reply_of(_too_large(came, len(body)))
    if not isinstance(came, Ending):
        # A call may become one of the same function with the same input: the same request.
        is_waiting = isinstance(came, Waiting)
        return Reply(body, may_repeat=is_waiting, is_waiting=is_waiting)
    # A call that failed for good may be run again by hand, with the same request.
    retry_after_s = -int(-(came.retry_after_s or 0) // 1)
    return Reply(body, came.status is Status.OK, retry_after_s if _is_tried(came) else 0)


def _is_tried(ending: Ending) -> bool:
    return ending.status.then is Then.RETRY


def response_of(came: Ending | Passed | Waiting) -> RunResponse:
    """An answer as the protocol has it."""
    match came:
        case Ending():
            exit_ = Exit(result=call_result_of(came.result), cancel=came.cancelled)
            return RunResponse(status=came.status.value, exit=exit_)
        case Passed():
            exit_ = Exit(tail_call=call_of(came.operation), cancel=came.cancelled)
            return RunResponse(status=Status.OK.value, exit=exit_)
        case Waiting():
            return RunResponse(status=Status.OK.value, poll=_poll(came))


def _poll(waiting: Waiting) -> Poll:
    poll = Poll(
        typed_coroutine_state=Any(type_url=OWN_STATE_TYPE, value=waiting.state),
        calls=[call_of(one.operation, one.id) for one in waiting.calls],
        min_results=waiting.min_results,
        max_results=waiting.max_results,
        extends=waiting.extends,
        state_nonce=waiting.nonce,
        process=waiting.process,
        cancel=waiting.cancelled,
        keep=waiting.kept,
    )
    if waiting.wait_us is not None:
        poll.max_wait.CopyFrom(duration_of(waiting.wait_us))
    return poll


def _too_large(came: Ending | Passed | Waiting, size_bytes: int) -> Ending:
    """The largest part is named: that is what has to become smaller."""
    match came:
        case Ending():
            what = "the result"
        case Passed():
            what = f"the input of {came.operation.function}, which takes its place"
        case Waiting():
            what = _largest(came)
    message = (
        f"{what}: {size_bytes} bytes, and {MOST_BYTES} is the most that a server takes. Store "
        "large values elsewhere, and pass where they are"
    )
    failure = Failure("TooLarge", message[0].upper() + message[1:])
    return Ending(Status.PERMANENT_ERROR, failure)


def _largest(waiting: Waiting) -> str:
    """It has as many calls as fit, so where its record is not too large, there is one."""
    call = max((one.operation for one in waiting.calls), key=_input_bytes, default=None)
    if call is None or _input_bytes(call) <= len(waiting.state):
        return "its record"
    return f"the input of {call.function}, called at {call.site}"


def _input_bytes(operation: Operation) -> int:
    return len(operation.input.data)
