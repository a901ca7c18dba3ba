"""States that grow: what extends them, when they are written whole, and what that costs."""

from __future__ import annotations

import zlib

import pytest

from dispatcher.functions import limits
from dispatcher.functions.deciding import appending
from dispatcher.functions.deciding.deciding import decide
from dispatcher.functions.deciding.decisions import Context, Decision, RetryAt
from dispatcher.functions.events import Exited, Polled
from dispatcher.functions.model import Call, StateArm
from dispatcher.functions.rules import Asked, Rules
from dispatcher.functions.spans import Span, length_of, span
from dispatcher.protocol.messages import Any, Poll, RunResponse
from dispatcher.protocol.statuses import Status
from dispatcher.testing import calls
from dispatcher.testing.calls import NOW_US, a_call, a_resumed_call, an_any, answered, http
from dispatcher.testing.clock import FixedRandom

NONCE = 77
LACKING = b'{"code":"failed_precondition","message":"not here"}'


def decided(poll: Poll, call: Call | None = None, *, is_referred: bool = False) -> Decision:
    call = call or a_resumed_call(crc=NONCE)
    return decide(
        call,
        Asked(call.step, is_referred=is_referred),
        answered(RunResponse(status=Status.OK.value, poll=poll)),
        Context(),
        now_us=NOW_US,
        random=FixedRandom(),
        rules=Rules(),
        next_key=calls.keys(),
    )


def polled(poll: Poll, call: Call | None = None) -> Polled:
    outcome = decided(poll, call).outcome
    assert isinstance(outcome, Polled)
    return outcome


def test_poll_that_extends_the_state_stores_what_is_new() -> None:
    """With the nonce that the next one has to extend."""
    event = polled(Poll(coroutine_state=b"+1", extends=NONCE, state_nonce=78))
    assert (event.is_appended, event.arm, event.state) == (True, StateArm.LEGACY, b"+1")
    assert event.state_crc == 78


def test_of_a_typed_state_the_type_is_stored_once() -> None:
    """And the value that is sent is that of all pieces."""
    call = a_resumed_call(crc=NONCE)
    call.arm = StateArm.TYPED
    event = polled(Poll(typed_coroutine_state=an_any(b"+1"), extends=NONCE, state_nonce=78), call)
    assert event.is_appended
    assert event.state == Any(value=b"+1").SerializeToString()
    pieces = [an_any(b"one").SerializeToString(), event.state, event.state]
    assert Any.FromString(appending.one(StateArm.TYPED, pieces)) == an_any(b"one+1+1")
    assert appending.one(StateArm.LEGACY, [b"one", b"+1"]) == b"one+1"


def test_state_without_a_nonce_has_none() -> None:
    """Its checksum says whether it is the same; of a longer one, that of all of it."""
    assert polled(Poll(coroutine_state=b"s")).state_crc == zlib.crc32(b"s")
    call = a_resumed_call(crc=zlib.crc32(b"state"))
    event = polled(Poll(coroutine_state=b"+", extends=call.state_crc), call)
    assert event.state_crc == zlib.crc32(b"state+")


@pytest.mark.parametrize(
    ("arm", "nonce"), [(StateArm.LEGACY, 78), (StateArm.TYPED, NONCE), (StateArm.NONE, NONCE)]
)
def test_poll_that_extends_another_state_means_nothing(arm: StateArm, nonce: int) -> None:
    """The same run is made again: at once where a reference was sent, else later."""
    poll = Poll(coroutine_state=b"+1", extends=NONCE)
    call = a_resumed_call(crc=nonce)
    call.arm = arm
    outcome = decided(poll, call).outcome
    assert isinstance(outcome, RetryAt)
    assert (outcome.is_spent, outcome.attempts) == (True, 1)
    assert outcome.due_us > NOW_US
    outcome = decided(poll, call, is_referred=True).outcome
    assert outcome == RetryAt(NOW_US, 0, is_spent=False)


def test_first_run_has_nothing_to_extend() -> None:
    """Whatever it says."""
    decision = decided(Poll(coroutine_state=b"+1", extends=NONCE), a_call())
    assert isinstance(decision.outcome, RetryAt)
    assert decision.detail


def test_pieces_count_together() -> None:
    """A state that could never be sent back ends the call."""
    call = a_resumed_call(crc=NONCE)
    call.states = (span(2, 0, limits.MOST_PAYLOAD_BYTES - 2),)
    assert isinstance(decided(Poll(coroutine_state=b"+1", extends=NONCE), call).outcome, Polled)
    outcome = decided(Poll(coroutine_state=b"+12", extends=NONCE), call).outcome
    assert isinstance(outcome, Exited)
    assert b"bytes" in bytes(outcome.result)


@pytest.mark.parametrize("status", [400, 412])
def test_process_that_lacks_the_state_gets_it_at_once(status: int) -> None:
    """No attempt is spent; without a reference it is an error as any other."""
    call = a_resumed_call(crc=NONCE)
    call.attempts = 0

    def outcome_of(asked: Asked, body: bytes) -> object:
        return decide(
            call,
            asked,
            http(status, body),
            Context(),
            now_us=NOW_US,
            random=FixedRandom(),
            rules=Rules(),
            next_key=calls.keys(),
        ).outcome

    referred = Asked(call.step, is_referred=True)
    assert outcome_of(referred, LACKING) == RetryAt(NOW_US, 0, is_spent=False)
    assert isinstance(outcome_of(referred, b"{}"), Exited)
    assert isinstance(outcome_of(Asked(call.step), LACKING), Exited)


@pytest.mark.parametrize("first_bytes", [1, 100_000])
@pytest.mark.parametrize("piece_bytes", [20, 300, 5000])
def test_what_is_written_is_in_proportion(first_bytes: int, piece_bytes: int) -> None:
    """Of a state that grows for long: half a kilobyte or one for each piece, and the piece a few
    times; and few places are kept."""
    states: list[Span] = [span(1, 0, first_bytes)]
    written = 0
    count = 3000 if piece_bytes * 3000 < 16_000_000 else 2000
    for _ in range(count):
        if appending.is_to_be_one(states, piece_bytes):
            whole_bytes = sum(map(length_of, states)) + piece_bytes
            states = [span(1, 0, whole_bytes)]
            written += whole_bytes
        else:
            states.append(span(1, 0, piece_bytes))
            written += piece_bytes
        assert len(states) <= 1 + max(appending.FEW, length_of(states[0]) // appending.EACH_BYTES)
    assert written <= first_bytes + count * (appending.EACH_BYTES * 2 + 3 * piece_bytes)


def test_answer_says_who_keeps_the_state_and_what_is_needed_no_more() -> None:
    """Where the poll counts."""
    poll = Poll(coroutine_state=b"s", process="p1", cancel=[3, 4])
    decision = decided(poll)
    assert (decision.process, decision.cancel) == ("p1", (3, 4))
    poll.extends = 1
    decision = decided(poll)
    assert (decision.process, decision.cancel) == ("", ())
