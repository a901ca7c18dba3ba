"""What the end of a run means: statuses, HTTP answers, failures, delays."""

from __future__ import annotations

import pytest

from dispatcher.core.answer import Answer
from dispatcher.core.breaker import Signal
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.functions import limits
from dispatcher.functions.deciding.deciding import decide
from dispatcher.functions.deciding.decisions import Context, Decision, RestartAt, RetryAt
from dispatcher.functions.events import Exited, Polled, TailCalled
from dispatcher.functions.model import Call, How
from dispatcher.functions.rules import Asked, Rules
from dispatcher.protocol.messages import CallResult, Error, RunResponse
from dispatcher.protocol.statuses import Concurrency, Status
from dispatcher.testing import calls
from dispatcher.testing.calls import NOW_US, a_call, a_resumed_call, an_any, answered, broke, http
from dispatcher.testing.clock import FixedRandom

RETRIED = [
    Status.TIMEOUT,
    Status.THROTTLED,
    Status.TEMPORARY_ERROR,
    Status.DNS_ERROR,
    Status.TCP_ERROR,
    Status.TLS_ERROR,
    Status.HTTP_ERROR,
]
FINAL = [
    Status.INVALID_ARGUMENT,
    Status.INVALID_RESPONSE,
    Status.PERMANENT_ERROR,
    Status.UNAUTHENTICATED,
    Status.PERMISSION_DENIED,
    Status.NOT_FOUND,
]


def run(
    answer: Answer | AttemptResult,
    call: Call | None = None,
    *,
    rules: Rules | None = None,
    chance: float = 0.5,
) -> Decision:
    call = call or a_call()
    return decide(
        call,
        Asked(call.step),
        answer,
        Context(),
        now_us=NOW_US,
        random=FixedRandom(chance),
        rules=rules or Rules(),
        next_key=calls.keys(),
    )


def exited(decision: Decision) -> tuple[How, CallResult]:
    outcome = decision.outcome
    assert isinstance(outcome, Exited)
    assert isinstance(outcome.result, bytes)
    result = CallResult.FromString(outcome.result)
    assert outcome.at_us == NOW_US
    return outcome.how, result


def delay_ms(decision: Decision) -> int:
    assert isinstance(decision.outcome, RetryAt)
    return (decision.outcome.due_us - NOW_US) // 1000


def exit_with(status: Status, **result: object) -> RunResponse:
    response = calls.ended_with(status)
    if "output" in result:
        response.exit.result.output.CopyFrom(an_any())
    if "error" in result:
        response.exit.result.error.CopyFrom(Error(type="E", message="no", value=b"\x80pickle"))
    return response


def test_exit_ends_the_call_with_its_output() -> None:
    """OK with a result: the output goes on, ids that the application put in do not."""
    response = exit_with(Status.OK, output=1)
    response.exit.result.correlation_id = 7
    response.exit.result.dispatch_id = "x"
    decision = run(answered(response))
    assert exited(decision) == (How.OK, CallResult(output=an_any()))
    assert decision.lane is Signal.HEALTHY
    assert decision.function is Concurrency.INCREASE


def test_exit_without_a_result_is_none() -> None:
    """dispatch-py sends no result for None."""
    assert exited(run(answered(calls.ended_with(Status.OK)))) == (How.OK, CallResult())


@pytest.mark.parametrize("status", FINAL)
def test_final_status_ends_the_call_with_its_error(status: Status) -> None:
    """The error passes untouched; the endpoint is healthy."""
    decision = run(answered(exit_with(status, error=1)))
    how, result = exited(decision)
    assert how is How.FAILED
    assert result == CallResult(error=Error(type="E", message="no", value=b"\x80pickle"))
    assert isinstance(decision.outcome, Exited)
    assert decision.outcome.is_error
    assert (decision.lane, decision.function) == (Signal.HEALTHY, Concurrency.INCREASE)
    assert decision.status is status


def test_final_status_without_an_error_gets_one() -> None:
    """Its caller must not take it for a success."""
    how, result = exited(run(answered(calls.ended_with(Status.NOT_FOUND))))
    assert how is How.FAILED
    assert result.error.type == "NotFound"


def test_final_status_with_an_output_keeps_it() -> None:
    """A function may return a value that stands for a failure (an HTTP response, say)."""
    how, result = exited(run(answered(exit_with(Status.NOT_FOUND, output=1))))
    assert (how, result) == (How.FAILED, CallResult(output=an_any()))


@pytest.mark.parametrize("status", RETRIED)
@pytest.mark.parametrize("parts", [{}, {"output": 1}, {"error": 1}])
def test_temporary_status_is_retried_whatever_comes_with_it(
    status: Status, parts: dict[str, int]
) -> None:
    """The status decides, not whether there is an error or an output."""
    decision = run(answered(exit_with(status, **parts)))
    assert isinstance(decision.outcome, RetryAt)
    assert decision.outcome.attempts == 1
    assert (decision.lane, decision.function) == (Signal.HEALTHY, Concurrency.DECREASE)


def test_poll_with_a_temporary_status_is_retried() -> None:
    """A poll counts with the status OK only."""
    response = RunResponse(status=6, poll={"min_results": 1})  # type: ignore[arg-type]  # the stubs want an enum and a message
    assert isinstance(run(answered(response)).outcome, RetryAt)


@pytest.mark.parametrize("number", [0, 16, 99])
def test_status_that_is_not_known_is_final(number: int) -> None:
    """UNSPECIFIED, and what only a newer SDK knows."""
    decision = run(answered(calls.ended_with(number)))
    how, result = exited(decision)
    assert (how, result.error.type) == (How.FAILED, "InvalidResponse")
    assert str(number) in result.error.message
    assert decision.function is Concurrency.NONE


@pytest.mark.parametrize("status", [Status.OK, Status.TEMPORARY_ERROR, Status.INCOMPATIBLE_STATE])
def test_tail_call_is_looked_at_before_the_status(status: Status) -> None:
    """dispatch-py sends TEMPORARY_ERROR with a tail call and no result."""
    response = calls.ended_with(status)
    response.exit.tail_call.function = "g"
    response.exit.tail_call.input.CopyFrom(an_any())
    outcome = run(answered(response)).outcome
    assert outcome == TailCalled(
        calls.KEY, 0, "http://app.example", "g", "", an_any().SerializeToString()
    )


@pytest.mark.parametrize("status", Status)
def test_tail_call_has_failed_by_its_status_but_for_reset(status: Status) -> None:
    """dispatch-py's `Reset` is TEMPORARY_ERROR: a function that goes on so is no failure, and must
    not be slowed down."""
    response = calls.ended_with(status)
    response.exit.tail_call.function = "g"
    decision = run(answered(response))
    shown = Status.OK if status is Status.TEMPORARY_ERROR else status
    assert (decision.status, decision.function) == (shown, shown.concurrency)
    assert (decision.why is None) is (shown is Status.OK)


def test_tail_call_may_name_an_endpoint_and_a_version() -> None:
    """Else it is the call's own endpoint."""
    response = calls.ended_with(Status.OK)
    response.exit.tail_call.function = "g"
    response.exit.tail_call.endpoint = "http://other.example"
    response.exit.tail_call.version = "2"
    outcome = run(answered(response)).outcome
    assert isinstance(outcome, TailCalled)
    assert (outcome.endpoint, outcome.version) == ("http://other.example", "2")


def test_tail_call_that_is_invalid_ends_the_call() -> None:
    """And names the field."""
    response = calls.ended_with(Status.OK)
    response.exit.tail_call.function = "not a name"
    how, result = exited(run(answered(response)))
    assert (how, result.error.type) == (How.FAILED, "InvalidResponse")
    assert "exit.tail_call.function" in result.error.message


def test_tail_call_runs_somewhere() -> None:
    """A promise takes no call's place."""
    response = calls.ended_with(Status.OK)
    response.exit.tail_call.endpoint = "promise:p"
    _, result = exited(run(answered(response)))
    assert "exit.tail_call.endpoint" in result.error.message


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"text/html", None, b""),
        Answer(200, b"", None, b""),
        Answer(200, b"application/proto", None, b"\xff\xff"),
        Answer(200, b"application/proto", None, b""),  # neither status nor directive
        Answer(200, b"application/proto", None, b"\x08\x01"),  # OK, and no directive
        Answer(200, b"application/proto", None, b"", is_whole=False),
        Answer(204, b"application/proto", None, b""),
    ],
)
def test_answer_against_the_protocol_ends_the_call(answer: Answer) -> None:
    """Asking again would give the same; the endpoint is healthy all the same."""
    decision = run(answer)
    how, result = exited(decision)
    assert (how, result.error.type) == (How.FAILED, "InvalidResponse")
    assert decision.status in (Status.INVALID_RESPONSE, Status.UNSPECIFIED)
    assert decision.lane is Signal.HEALTHY
    assert decision.detail


def test_content_type_may_have_parameters() -> None:
    """Some frameworks add a charset to everything."""
    body = calls.ended_with(Status.OK).SerializeToString()
    answer = Answer(200, b"Application/Proto ; charset=utf-8", None, body)
    assert exited(run(answer))[0] is How.OK


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, "InvalidArgument"),
        (401, "Unauthenticated"),
        (403, "PermissionDenied"),
        (404, "NotFound"),
        (413, "PermanentError"),
        (415, "PermanentError"),
        (425, "PermanentError"),
        (501, "PermanentError"),
        (302, "InvalidResponse"),
        (600, "InvalidResponse"),
    ],
)
def test_http_status_that_is_final_ends_the_call(code: int, kind: str) -> None:
    """With what the endpoint said about it."""
    body = b'{"code":"not_found","message":"function f is unknown"}'
    how, result = exited(run(http(code, body)))
    assert (how, result.error.type) == (How.FAILED, kind)
    assert f"HTTP {code}" in result.error.message
    assert "function f is unknown" in result.error.message


@pytest.mark.parametrize(("code", "is_refused"), [(401, True), (403, True), (400, False)])
def test_refused_run_says_which_key_is_needed(code: int, is_refused: bool) -> None:
    """The most likely cause is a verification key of another server."""
    body = b'{"code":"permission_denied","message":"invalid signature"}'
    message = exited(run(http(code, body)))[1].error.message
    assert "invalid signature" in message
    assert ("DISPATCH_VERIFICATION_KEY" in message) is is_refused


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504, 599])
def test_http_status_that_may_pass_is_retried(code: int) -> None:
    """Whatever its body."""
    decision = run(http(code))
    assert isinstance(decision.outcome, RetryAt)
    assert decision.function is Concurrency.NONE


@pytest.mark.parametrize(
    "failure",
    [Failure.CONNECTION, Failure.DNS, Failure.TLS, Failure.TIMEOUT, Failure.BROKEN],
)
def test_no_answer_is_retried(failure: Failure) -> None:
    """Connections, names, TLS, time, and responses that are cut short."""
    assert isinstance(run(broke(failure)).outcome, RetryAt)


@pytest.mark.parametrize("failure", [Failure.BROKEN, Failure.TIMEOUT])
def test_status_alone_decides_where_it_is_final(failure: Failure) -> None:
    """A 404 of which the body is missing is a 404; a 200 or a 503 is asked for again."""
    assert exited(run(broke(failure, status=404)))[1].error.type == "NotFound"
    assert isinstance(run(broke(failure, status=200)).outcome, RetryAt)
    assert isinstance(run(broke(failure, status=503)).outcome, RetryAt)


def test_address_that_is_not_allowed_ends_the_call() -> None:
    """Asking again would not help."""
    decision = run(broke(Failure.EGRESS, was_sent=False))
    assert exited(decision)[1].error.type == "PermissionDenied"
    assert decision.lane is Signal.NEUTRAL


def test_lane_hears_of_overload() -> None:
    """A lost connection and a 503 lower the lane's limit, a 500 fails, a 404 does not matter."""
    assert run(broke(Failure.CONNECTION)).lane is Signal.OVERLOAD
    assert run(http(503)).lane is Signal.OVERLOAD
    assert run(http(500)).lane is Signal.FAILURE
    assert run(http(404)).lane is Signal.HEALTHY


def test_what_was_lacking_here_spends_no_attempt() -> None:
    """It is sent again in a second, and the count stays."""
    call = a_call()
    call.attempts = 3
    result = AttemptResult(None, Failure.CONNECTION, "out of memory", 1, ours=True)
    decision = run(result, call)
    assert decision.outcome == RetryAt(NOW_US + 1_000_000, 3, is_spent=False)
    assert decision.lane is Signal.NEUTRAL


@pytest.mark.parametrize(
    ("attempts", "expected_ms"), [(0, 500), (1, 1000), (2, 2000), (6, 32_000), (7, 60_000)]
)
def test_delay_doubles_to_its_maximum(attempts: int, expected_ms: int) -> None:
    """CALL_RETRY_DELAY to CALL_RETRY_MAX_DELAY, in the middle of the jitter."""
    call = a_call()
    call.attempts = attempts
    low, middle, high = (delay_ms(run(http(503), call, chance=chance)) for chance in (0, 0.5, 1))
    assert expected_ms * 0.8 <= low <= middle <= high <= min(60_000, expected_ms * 1.2)
    if expected_ms < 60_000:
        assert middle == expected_ms


@pytest.mark.parametrize("as_status", [True, False])
@pytest.mark.parametrize(("asked", "least_ms"), [(b"3", 3000), (b"600", 600_000), (b"0", 400)])
def test_retry_after_is_a_lower_bound(as_status: bool, asked: bytes, least_ms: int) -> None:
    """Of an HTTP status and of a RunResponse, above the maximum too."""
    answer: Answer | AttemptResult = http(429, retry_after=asked)
    if as_status:
        answer = answered(calls.ended_with(Status.THROTTLED), retry_after=asked)
    for chance in (0, 1):
        wait_ms = delay_ms(run(answer, chance=chance))
        assert least_ms <= wait_ms <= max(600, least_ms * 1.2)


def test_no_retry_is_due_after_expiration() -> None:
    """It is looked at then, and expires."""
    call = a_call()
    call.expires_us = NOW_US + 100_000
    assert delay_ms(run(http(503, retry_after=b"3600"), call)) == 100


def test_incompatible_state_begins_anew() -> None:
    """On a resume, and on a first run."""
    answer = answered(calls.ended_with(Status.INCOMPATIBLE_STATE))
    decision = run(answer, a_resumed_call())
    assert decision.outcome == RestartAt(NOW_US + 500_000)
    assert decision.function is Concurrency.NONE
    assert isinstance(run(answer).outcome, RestartAt)


@pytest.mark.parametrize(
    ("restarts", "made", "reached", "is_over"),
    [(2, 1, 1, False), (3, 1, 1, True), (3, 2, 1, False), (3, 0, 4, True)],
)
def test_restarts_that_get_no_further_end(
    restarts: int, made: int, reached: int, is_over: bool
) -> None:
    """After three of them; one that got further is not counted."""
    call = a_resumed_call()
    call.step, call.began_step = 9, 9 - made
    call.restarts, call.reached = restarts, reached
    decision = run(answered(exit_with(Status.INCOMPATIBLE_STATE, error=1)), call)
    if is_over:
        how, result = exited(decision)
        assert (how, result.error.type) == (How.FAILED, "E")
    else:
        assert isinstance(decision.outcome, RestartAt)
    bare = run(answered(calls.ended_with(Status.INCOMPATIBLE_STATE)), call)
    assert not is_over or exited(bare)[1].error.type == "IncompatibleState"


@pytest.mark.parametrize(
    ("restarts", "reached", "expected_ms"), [(0, 1, 500), (1, 1, 1000), (2, 1, 2000), (2, 0, 500)]
)
def test_restart_is_delayed_as_a_retry_is(restarts: int, reached: int, expected_ms: int) -> None:
    """Doubled with each that got no further; not beyond its expiration."""
    call = a_resumed_call()
    call.restarts, call.reached = restarts, reached
    answer = answered(calls.ended_with(Status.INCOMPATIBLE_STATE))
    assert run(answer, call).outcome == RestartAt(NOW_US + expected_ms * 1000)
    call.expires_us = NOW_US + 100_000
    assert run(answer, call).outcome == RestartAt(call.expires_us)


def test_result_that_is_too_large_ends_the_call() -> None:
    """One byte less goes."""
    around = CallResult(output=an_any(bytes(10_000_000))).ByteSize() - 10_000_000
    for extra in (0, 1):
        value = bytes(limits.MOST_PAYLOAD_BYTES - around + extra)
        response = calls.ended_with(Status.OK)
        response.exit.result.output.CopyFrom(an_any(value))
        how, result = exited(run(answered(response)))
        if extra:
            assert (how, result.error.type) == (How.FAILED, "InvalidResponse")
            assert str(limits.MOST_PAYLOAD_BYTES) in result.error.message
        else:
            assert how is How.OK
            assert result.ByteSize() == limits.MOST_PAYLOAD_BYTES


def test_poll_is_an_event_of_its_own() -> None:
    """Table tests of polls are in test_functions_polling."""
    response = RunResponse(status=1, poll={"min_results": 1})  # type: ignore[arg-type]  # the stubs want an enum and a message
    assert isinstance(run(answered(response)).outcome, Polled)
