"""Runs and their answers, from and to the messages of the protocol."""

from __future__ import annotations

import pytest

from dispatcher.protocol.messages import (
    Any,
    CallResult,
    Error,
    PollResult,
    RunRequest,
    RunResponse,
    Timestamp,
)
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.replay.model import CallOptions, Failure, Kind, Numbered, Operation, Told, Value
from dispatcher.sdk.running.requests import Delivered, Resume, read_run
from dispatcher.sdk.running.responses import Ending, Passed, Waiting, reply_of
from dispatcher.sdk.wire import any_of, value_of

OTHER = Value("buf.build/acme/types/acme.Order", b"order")
OWN = Value("google.protobuf.StringValue", b"\n\x02hi")


def read(request: RunRequest) -> tuple[Told, Value | Resume]:
    """What a request says."""
    features = frozenset({"append"})
    run = read_run(request.SerializeToString(), features=features, timeout_ms=1500)
    assert (run.within_s, run.features) == (1.5, features)
    return run.told, run.directive


@pytest.mark.parametrize("value", [OTHER, OWN])
def test_a_value_keeps_its_type(value: Value) -> None:
    """Also one that nobody here has heard of."""
    assert value_of(any_of(value)) == value
    assert "/" in any_of(value).type_url


def test_a_request_tells_of_its_call() -> None:
    """With instants in microseconds; a call at the top is its own root."""
    request = RunRequest(
        function="greet",
        input=any_of(OTHER),
        dispatch_id="1",
        parent_dispatch_id="2",
        root_dispatch_id="3",
        creation_time=Timestamp(seconds=5, nanos=6000),
        expiration_time=Timestamp(seconds=7),
        version="v",
    )
    features = frozenset({"append"})
    told = Told("1", "greet", "2", "3", 5_000_006, 7_000_000, "v", features)
    assert read(request) == (told, OTHER)
    assert read(RunRequest(function="greet", input=Any(), dispatch_id="1"))[0].root_id == "1"


def test_results_are_read_as_they_are() -> None:
    """A result without anything is None; one with an error failed, also if it has an output."""
    error = Error(type="KeyError", message="'a'", value=b"v", traceback=b"t")
    results = [
        CallResult(correlation_id=2**64 - 1, dispatch_id="a", output=any_of(OTHER)),
        CallResult(correlation_id=2, dispatch_id="b"),
        CallResult(correlation_id=3, dispatch_id="c", output=any_of(OTHER), error=error),
    ]
    poll = PollResult(results=results, permit=b"permit", state_ref=7, error=error)
    _, resume = read(RunRequest(function="greet", poll_result=poll))
    failure = Failure("KeyError", "'a'", b"v", b"t")
    assert resume == Resume(
        None,
        nonce=7,
        results=(
            Delivered(2**64 - 1, "a", OTHER),
            Delivered(2, "b", Value("google.protobuf.Empty", b"")),
            Delivered(3, "c", failure),
        ),
        error=failure,
        permit=b"permit",
    )


def answered(came: Ending | Passed | Waiting) -> RunResponse:
    return RunResponse.FromString(reply_of(came).body)


def test_a_call_has_its_options() -> None:
    """Those that it names; an endpoint only where it is another application's."""
    options = CallOptions(
        expiration_us=90_000_000, timeout_us=1_500_000, delay_us=250_000, version="v"
    )
    operation = Operation(
        Kind.CALL, "greet", "app.py:1", input=OTHER, endpoint="http://b", options=options
    )
    plain = Operation(Kind.CALL, "greet", "app.py:1")
    waiting = Waiting(b"s", 1, calls=[Numbered(5, operation), Numbered(6, plain)])
    call, other = answered(waiting).poll.calls
    assert (call.correlation_id, call.endpoint, call.version) == (5, "http://b", "v")
    assert call.input.type_url == OTHER.type
    assert call.expiration.seconds == 90
    assert (call.timeout.seconds, call.timeout.nanos) == (1, 500_000_000)
    assert call.delay.nanos == 250_000_000
    assert other.ByteSize() < 70
    assert not other.HasField("expiration")
    assert not other.HasField("timeout")
    assert not other.HasField("delay")
    assert other.endpoint == ""


@pytest.mark.parametrize(
    ("seconds", "status", "header"),
    [
        (None, Status.THROTTLED, 0),
        (0.1, Status.THROTTLED, 1),
        (2.0, Status.TEMPORARY_ERROR, 2),
        (2.0, Status.PERMANENT_ERROR, 0),
    ],
)
def test_when_to_try_again_is_said_in_whole_seconds(
    seconds: float | None, status: Status, header: int
) -> None:
    """Rounded up, and only where it is tried again."""
    reply = reply_of(Ending(status, Failure("Busy", "later"), seconds))
    assert reply.retry_after_s == header


@pytest.mark.parametrize(
    ("came", "what"),
    [
        (Ending(Status.OK, Value("T", bytes(16_000_000))), "The result"),
        (Waiting(bytes(16_000_000), 1), "Its record"),
        (
            Passed(Operation(Kind.CALL, "next", "app.py:1", input=Value("T", bytes(16_000_000)))),
            "The input of next, which takes its place",
        ),
    ],
)
def test_an_answer_that_is_too_large_says_what_of_it(
    came: Ending | Passed | Waiting, what: str
) -> None:
    """The call fails with a sentence, and not with what a server makes of it."""
    response = answered(came)
    assert response.status == Status.PERMANENT_ERROR
    assert response.exit.result.error.type == "TooLarge"
    assert response.exit.result.error.message.startswith(f"{what}: 160000")
