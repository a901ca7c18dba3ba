"""What a poll means: what it waits for, what it calls, and when it is refused."""

from __future__ import annotations

import zlib

import pytest

from dispatcher.functions import limits
from dispatcher.functions.deciding.deciding import decide
from dispatcher.functions.deciding.decisions import Context
from dispatcher.functions.events import Exited, Polled
from dispatcher.functions.model import Call, StateArm
from dispatcher.functions.rules import Asked, Rules
from dispatcher.protocol import messages
from dispatcher.protocol.messages import CallResult, Duration, Error, Poll, RunResponse
from dispatcher.testing import calls
from dispatcher.testing.calls import HOUR_US, KEY, NOW_US, a_call, a_resumed_call, an_any, answered
from dispatcher.testing.clock import FixedRandom

CRC = zlib.crc32(b"state")
A_YEAR_S = 365 * 86_400


def outcome_of(
    poll: Poll,
    call: Call | None = None,
    *,
    delivered: int = 0,
    was_told: bool = False,
    rules: Rules | None = None,
    tree: int = 1,
) -> object:
    call = call or a_call()
    response = RunResponse(poll=poll)
    response.MergeFromString(b"\x08\x01")
    return decide(
        call,
        Asked(call.step, delivered, was_told),
        answered(response),
        Context(tree=tree),
        now_us=NOW_US,
        random=FixedRandom(),
        rules=rules or Rules(),
        next_key=calls.keys(),
    ).outcome


def polled(
    poll: Poll,
    call: Call | None = None,
    *,
    delivered: int = 0,
    was_told: bool = False,
    rules: Rules | None = None,
    tree: int = 1,
) -> Polled:
    outcome = outcome_of(poll, call, delivered=delivered, was_told=was_told, rules=rules, tree=tree)
    assert isinstance(outcome, Polled)
    return outcome


def a_poll(*children: messages.Call, wait_s: int | None = None, state: bytes = b"state") -> Poll:
    poll = Poll(coroutine_state=state, min_results=1, max_results=10, calls=children)
    if wait_s is not None:
        poll.max_wait.CopyFrom(Duration(seconds=wait_s))
    return poll


def a_child(correlation: int = 1, **fields: str) -> messages.Call:
    child = messages.Call(correlation_id=correlation, function="g", input=an_any())
    for name, value in fields.items():
        setattr(child, name, value)
    return child


def refusal(poll: Polled) -> Error:
    assert isinstance(poll.error, bytes)
    assert poll.calls == ()
    return Error.FromString(poll.error)


def test_poll_keeps_its_state_in_its_arm() -> None:
    """Bytes as bytes, an Any as the Any; what was delivered and told is noted."""
    legacy = polled(a_poll(), a_resumed_call(results=(5, 5)), delivered=2, was_told=True)
    assert (legacy.arm, legacy.state, legacy.state_crc) == (StateArm.LEGACY, b"state", CRC)
    assert (legacy.delivered, legacy.was_told, legacy.step) == (2, True, 1)
    typed = polled(Poll(typed_coroutine_state=an_any(), min_results=1))
    assert (typed.arm, typed.state) == (StateArm.TYPED, an_any().SerializeToString())
    assert polled(Poll(min_results=1)).arm is StateArm.NONE
    assert polled(Poll(coroutine_state=b"")).arm is StateArm.LEGACY


@pytest.mark.parametrize(
    ("asked", "kept"),
    [(0, 1), (-5, 1), (1, 1), (1_001, 1_001), (10_000, 10_000), (1 << 30, 10_000)],
)
def test_min_and_max_results_are_clamped(asked: int, kept: int) -> None:
    """dispatch-go sends more than 1 000 in good faith."""
    poll = polled(Poll(min_results=asked, max_results=asked))
    assert (poll.min_results, poll.max_results) == (kept, kept)


@pytest.mark.parametrize(
    ("wait_s", "due_us"),
    [
        (None, 0),
        (0, NOW_US),
        (-5, NOW_US),
        (1, NOW_US + 1_000_000),
        (1 << 62, NOW_US + HOUR_US),
    ],
)
def test_max_wait_is_none_at_once_or_a_time(wait_s: int | None, due_us: int) -> None:
    """And bounded by the expiration: a duration may be longer than an instant can hold."""
    assert polled(a_poll(wait_s=wait_s)).due_us == due_us


def test_children_have_what_the_poll_says_of_them() -> None:
    """Without an endpoint they go to their caller's; correlations have 64 bits and may repeat."""
    first = a_child((1 << 64) - 1)
    second = a_child((1 << 64) - 1, endpoint="https://b.example/app", version="2")
    made = polled(a_poll(first, second)).calls
    assert [one.key for one in made] == [KEY + 100, KEY + 101]
    assert [one.endpoint for one in made] == ["http://app.example", "https://b.example/app"]
    assert [one.version for one in made] == ["", "2"]
    assert {one.correlation for one in made} == {(1 << 64) - 1}
    assert {one.input for one in made} == {an_any().SerializeToString()}
    assert {one.created_us for one in made} == {NOW_US}


@pytest.mark.parametrize(
    ("asked_s", "parent_s", "child_s"),
    [
        (None, 3600, 3600),  # 24 hours by default, but no longer than its parent
        (None, A_YEAR_S, 86_400),
        (0, A_YEAR_S, 86_400),
        (60, 3600, 60),
        (7200, 3600, 3600),
        (1 << 62, 2 * A_YEAR_S, A_YEAR_S),
    ],
)
def test_child_expires_no_later_than_its_parent(
    asked_s: int | None, parent_s: int, child_s: int
) -> None:
    """CALL_DEFAULT_EXPIRATION where nothing is said, CALL_MAX_EXPIRATION at most."""
    call = a_call()
    call.expires_us = NOW_US + parent_s * 1_000_000
    child = a_child()
    if asked_s is not None:
        child.expiration.CopyFrom(Duration(seconds=asked_s))
    assert polled(a_poll(child), call).calls[0].expires_us == NOW_US + child_s * 1_000_000


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"function": ""}, "calls[1].function"),
        ({"function": "not a name"}, "calls[1].function"),
        ({"endpoint": "ftp://x"}, "calls[1].endpoint"),
        ({"endpoint": "promise:"}, "calls[1].endpoint"),
    ],
)
def test_one_invalid_call_refuses_the_poll(fields: dict[str, str], where: str) -> None:
    """None of its calls is made; the function may try again, with its state."""
    poll = polled(a_poll(a_child(), a_child(2, **fields), a_child()))
    assert poll.state == b"state"
    error = refusal(poll)
    assert error.type == "InvalidCall"
    assert where in error.message


def test_lambda_function_refuses_the_poll() -> None:
    """It has an error of its own."""
    child = a_child(endpoint="arn:aws:lambda:eu-west-1:1:function:f")
    assert refusal(polled(a_poll(child))).type == "Unimplemented"


def test_too_many_calls_refuse_the_poll() -> None:
    """10 000 go, one more names the limit."""
    children = [a_child()] * (limits.MOST_POLLED + 1)
    assert len(polled(a_poll(*children[1:])).calls) == limits.MOST_POLLED
    error = refusal(polled(a_poll(*children)))
    assert error.type == "TooManyCalls"
    assert "10000" in error.message


def test_calls_that_stand_too_deep_refuse_the_poll() -> None:
    """A call at depth 100 calls nothing, and may still sleep."""
    assert polled(a_poll(a_child()), a_call(depth=99)).error is None
    error = refusal(polled(a_poll(a_child()), a_call(depth=100)))
    assert error.type == "TooDeep"
    assert "100" in error.message
    assert polled(a_poll(wait_s=1), a_call(depth=100)).error is None


def test_tree_that_grows_too_large_refuses_the_poll() -> None:
    """CALL_TREE_MAX, with the root."""
    rules = Rules(tree_max=5)
    assert polled(a_poll(a_child(), a_child()), rules=rules, tree=3).error is None
    error = refusal(polled(a_poll(a_child(), a_child()), rules=rules, tree=4))
    assert error.type == "TreeTooLarge"
    assert "CALL_TREE_MAX" in error.message


def test_state_that_cannot_be_sent_back_ends_the_call() -> None:
    """One byte less goes."""
    state = bytes(limits.MOST_PAYLOAD_BYTES)
    assert len(polled(a_poll(state=state)).state) == limits.MOST_PAYLOAD_BYTES  # type: ignore[arg-type]  # it has bytes, as it is not stored yet
    outcome = outcome_of(a_poll(state=state + b"x"))
    assert isinstance(outcome, Exited)
    assert isinstance(outcome.result, bytes)
    assert CallResult.FromString(outcome.result).error.type == "InvalidResponse"


def test_input_that_cannot_be_sent_refuses_the_poll() -> None:
    """Its child could never be run."""
    child = a_child()
    child.input.value = bytes(limits.MOST_PAYLOAD_BYTES)
    assert "calls[0].input" in refusal(polled(a_poll(child))).message


def an_idle_call(idle: int = 0) -> Call:
    """It is resumed with nothing, after a poll with this state."""
    call = a_resumed_call(crc=CRC)
    call.idle = idle
    return call


@pytest.mark.parametrize(("idle", "wait_ms"), [(0, 500), (1, 1000), (5, 16_000), (9, 54_000)])
def test_poll_that_asks_for_nothing_again_waits(idle: int, wait_ms: int) -> None:
    """CALL_RETRY_DELAY, doubling: dispatch-go without its state on disk would go round for ever."""
    poll = polled(a_poll(), an_idle_call(idle))
    assert poll.idle == idle + 1
    assert abs((poll.due_us - NOW_US) // 1000 - wait_ms) <= wait_ms // 8


def test_checkpoint_that_changes_nothing_waits() -> None:
    """max_wait 0 with children that are still running goes round as well."""
    call = an_idle_call()
    call.children = (KEY + 1,)
    assert polled(a_poll(wait_s=0), call).due_us == NOW_US + 500_000


def test_poll_that_got_on_does_not_wait() -> None:
    """Another state or arm, calls, something delivered, a first run, a timer, children."""
    assert polled(a_poll(state=b"other"), an_idle_call(3)).idle == 0
    assert polled(a_poll(state=b"other"), an_idle_call(3)).due_us == 0
    typed = an_idle_call(3)
    typed.arm = StateArm.TYPED
    assert polled(a_poll(), typed).idle == 0
    assert polled(a_poll(a_child()), an_idle_call(3)).idle == 0
    got = an_idle_call(3)
    got.results = a_resumed_call(results=(1,)).results
    assert polled(a_poll(), got, delivered=1).idle == 0
    assert polled(a_poll(), an_idle_call(3), was_told=True).idle == 0
    assert polled(a_poll()).idle == 0
    assert polled(a_poll(wait_s=2), an_idle_call(3)).due_us == NOW_US + 2_000_000
    waiting = an_idle_call(3)
    waiting.children = (KEY + 1,)
    assert polled(a_poll(), waiting).due_us == 0
