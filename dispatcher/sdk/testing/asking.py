"""What a run is sent, and what of its answer is the state."""

from __future__ import annotations

from typing import Final

from dispatcher.protocol.messages import Poll, PollResult, RunRequest
from dispatcher.sdk.testing.calls import Record

MAX_RESULTS: Final = 1_000


def request_of(call: Record) -> RunRequest:
    """The request of a run; the same again until it is answered."""
    request = RunRequest(
        function=call.function,
        dispatch_id=call.id,
        parent_dispatch_id=call.parent.id if call.parent else "",
        root_dispatch_id=call.root.id,
        version=call.asked.version,
    )
    request.creation_time.FromMicroseconds(call.created_us)
    request.expiration_time.FromMicroseconds(call.expires_us)
    if call.state is None:
        request.input.CopyFrom(call.input)
    else:
        request.poll_result.CopyFrom(_poll_result(call))
    return request


def _poll_result(call: Record) -> PollResult:
    """The results that are given are the same ones until the run is answered."""
    if call.given is None:
        most = call.wait.most if call.wait else MAX_RESULTS
        call.given, call.arrived = call.arrived[:most], call.arrived[most:]
    call.wait = None  # nothing wakes it while it runs
    result = PollResult(typed_coroutine_state=call.state, results=call.given)
    if call.refused is not None:
        result.error.CopyFrom(call.refused)
    return result


def store(call: Record, poll: Poll) -> None:
    """Store the state of a poll, or what is new in it behind the one that is there."""
    assert poll.HasField("typed_coroutine_state"), "the SDK has a state of its own type"
    if poll.extends and call.state is not None:
        call.state.value += poll.typed_coroutine_state.value
    else:
        call.state = poll.typed_coroutine_state
    call.nonce = poll.state_nonce
