"""Conversations of the SDK's clients with a server: what is sent, when again, and what comes of it.
Time is simulated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import pytest

from dispatcher.protocol.messages import Any as AnyMessage
from dispatcher.protocol.messages import (
    CallResult,
    DispatchRequest,
    DispatchResponse,
    Error,
)
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.client.asking import Asking
from dispatcher.sdk.client.errors import (
    AlreadyCompleted,
    CallsRefused,
    CallUnknown,
    ClientError,
    KeyRefused,
    NotEnded,
    ResultGone,
    Unreachable,
)
from dispatcher.sdk.client.exchange import Came, Conversation, Lost, Reply, Request, Send
from dispatcher.sdk.client.server import Server
from dispatcher.sdk.client.trying import Tries
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.replay.model import CallOptions, Failure, Value
from dispatcher.sdk.wire import call_result_of

T = TypeVar("T")

_REFUSED = Lost("connection refused", was_sent=False)
_CUT = Lost("the connection was closed before it answered", was_sent=True)
_ID = "0001000000018000000000000001"


class Bench:
    """Holds conversations: gives the `came` of each request in turn, the last for ever, and notes
    what was sent. A request takes `takes_s`, or the whole wait that it asks for."""

    def __init__(self, *came: Came | tuple[Came, float], key: str = "k") -> None:
        self._came = [one if isinstance(one, tuple) else (one, 0.01) for one in came]
        self.now_s = 1000.0
        self.sent: list[Request] = []
        self.at_s: list[float] = []
        self.within_s: list[float] = []
        server = Server.found("http://127.0.0.1:8081", key or None, {})
        tries = Tries(lambda: self.now_s, lambda: 1.0, 30.0)
        self.asking = Asking(server, tries, "http://app.example")

    def comes(self, *came: Came) -> None:
        """Have something else come from now on."""
        self._came = [(one, 0.01) for one in came]

    def hold(self, conversation: Conversation[T]) -> T:
        """Hold one; returns or raises what it does."""
        came: Came = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                value: T = end.value
                return value
            if not isinstance(step, Send):
                self.now_s += step.seconds
                came = None
                continue
            assert step.within_s > 0
            self.sent.append(step.request)
            self.at_s.append(round(self.now_s - 1000, 2))
            self.within_s.append(step.within_s)
            came, takes_s = self._came.pop(0) if len(self._came) > 1 else self._came[0]
            self.now_s += min(takes_s, step.within_s)


def reply(status: int, body: bytes | Mapping[str, Any] = b"", **headers: str) -> Reply:
    """An answer; a mapping is JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, data)


def ids(*names: str) -> Reply:
    """The answer to a dispatch."""
    return reply(200, DispatchResponse(dispatch_ids=names).SerializeToString())


def built(function: str = "greet", data: bytes = b"x", **more: Any) -> BuiltCall[Any]:
    """A call."""
    return BuiltCall(function, Value("google.protobuf.BytesValue", data), "app.py:1", **more)


def test_dispatch_sends_calls_and_returns_their_ids() -> None:
    """In the order of the calls; the endpoint is the application's own where a call names none, and
    a call that says nothing may take a year."""
    bench = Bench(ids("a", "b"))
    options = CallOptions(expiration_us=1_500_000, timeout_us=250_000, delay_us=1, version="v2")
    calls = [built(), built("other", endpoint="http://other.example", options=options)]
    assert bench.hold(bench.asking.dispatch(calls, "key-1")) == ["a", "b"]
    (request,) = bench.sent
    assert (request.method, request.target) == (
        "POST",
        "/dispatch.sdk.v1.DispatchService/Dispatch",
    )
    assert request.headers == {
        "Content-Type": "application/proto",
        "Connect-Protocol-Version": "1",
        "Idempotency-Key": "key-1",
    }
    first, second = DispatchRequest.FromString(request.body).calls
    assert (first.endpoint, first.function) == ("http://app.example", "greet")
    assert first.input == AnyMessage(
        type_url="type.googleapis.com/google.protobuf.BytesValue", value=b"x"
    )
    assert first.expiration.seconds == 365 * 86_400
    assert not first.HasField("timeout")
    assert not first.HasField("delay")
    assert (second.endpoint, second.version) == ("http://other.example", "v2")
    assert (second.expiration.seconds, second.expiration.nanos) == (1, 500_000_000)
    assert (second.timeout.nanos, second.delay.nanos) == (250_000_000, 1000)


def test_type_that_is_a_whole_url_is_sent_as_it_is() -> None:
    """Values of others have other prefixes."""
    bench = Bench(ids("a"))
    url = "buf.build/x/y/dispatch.sdk.python.v1.Pickled"
    bench.hold(bench.asking.dispatch([BuiltCall("f", Value(url, b""), "")], "k"))
    assert DispatchRequest.FromString(bench.sent[0].body).calls[0].input.type_url == url


@pytest.mark.parametrize(
    "came",
    [
        _REFUSED,
        _CUT,
        reply(500),
        reply(502, b"<html>"),
        reply(503, {"code": "unavailable", "message": "The log is full."}),
        reply(504),
        reply(429, b"slow down"),
        reply(408),
    ],
)
def test_dispatch_is_repeated_when_its_answer_is_lost(came: Lost | Reply) -> None:
    """With the same key and the same bytes, so that calls are made once."""
    bench = Bench(came, came, ids("a"))
    assert bench.hold(bench.asking.dispatch([built()], "key-1")) == ["a"]
    assert len(bench.sent) == 3
    assert bench.sent[0] == bench.sent[1] == bench.sent[2]


@pytest.mark.parametrize(
    "came",
    [
        reply(400, {"code": "invalid_argument", "message": "calls[0].function is missing."}),
        reply(409, {"code": "already_exists", "message": "Idempotency-Key: another body."}),
        reply(429, {"code": "resource_exhausted", "message": "Too many calls."}),
        reply(501, {"code": "unimplemented", "message": "A Lambda."}),
    ],
)
def test_dispatch_is_not_repeated_when_it_was_refused(came: Reply) -> None:
    """It would be refused again; the server's message is what is raised."""
    bench = Bench(came)
    with pytest.raises(ClientError) as caught:
        bench.hold(bench.asking.dispatch([built()], "k"))
    said = json.loads(came.body)
    assert str(caught.value) == said["message"]
    assert (caught.value.code, caught.value.http_status) == (said["code"], came.status)
    assert len(bench.sent) == 1


def test_server_that_is_away_is_asked_until_patience_is_over() -> None:
    """At once, where a connection was lost that may have been idle too long; then less and less
    often, for 30 seconds."""
    bench = Bench(_CUT, _REFUSED)
    with pytest.raises(Unreachable) as caught:
        bench.hold(bench.asking.dispatch([built()], "k"))
    assert bench.at_s[:6] == [0.0, 0.01, 0.22, 0.63, 1.44, 3.05]
    assert 25 < bench.at_s[-1] < 30
    assert str(caught.value) == (
        "No answer from http://127.0.0.1:8081 (api_url=…): connection refused, tried "
        f"{len(bench.sent)} times. Is the server running, and DISPATCH_API_URL its API_LISTEN?"
    )
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.status is Status.TCP_ERROR


def test_server_that_is_away_is_mentioned_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Once in half a minute, however many wait: whoever sits before it would think that it hangs.
    A restart that takes less than a second is not worth a word."""
    bench = Bench(_REFUSED, _REFUSED, _REFUSED, ids("a"))
    bench.hold(bench.asking.dispatch([built()], "k"))
    assert caplog.messages == []
    bench = Bench(*[_REFUSED] * 4, ids("a"), *[_REFUSED] * 4, ids("b"))
    bench.hold(bench.asking.dispatch([built()], "k"))
    bench.hold(bench.asking.dispatch([built()], "l"))
    assert caplog.messages == [
        "No answer from http://127.0.0.1:8081 (api_url=…) yet: connection refused. It is asked "
        "again, for 29 s at most."
    ]
    bench.now_s += 30
    bench.comes(_REFUSED)
    with pytest.raises(Unreachable):
        bench.hold(bench.asking.dispatch([built()], "m"))
    assert len(caplog.messages) == 2


def test_server_that_does_not_answer_gets_no_more_time_than_there_is() -> None:
    """Each try has ten seconds, the last what is left of thirty."""
    slow = Lost("it did not answer in time", was_sent=True, status=Status.TIMEOUT)
    bench = Bench((slow, 100.0))
    with pytest.raises(Unreachable) as caught:
        bench.hold(bench.asking.dispatch([built()], "k"))
    assert [round(one, 1) for one in bench.within_s] == [10.0, 10.0, 9.8]
    assert caught.value.status is Status.TIMEOUT


def test_retry_after_is_waited_for() -> None:
    """The server says when to ask again."""
    bench = Bench(reply(503, {"code": "unavailable"}, retry_after="7"), ids("a"))
    bench.hold(bench.asking.dispatch([built()], "k"))
    assert bench.at_s == [0.0, 7.01]


def test_certificate_that_is_refused_is_final() -> None:
    """No other try would end otherwise."""
    bad = Lost("TLS failed: self-signed certificate", False, Status.TLS_ERROR, is_final=True)
    bench = Bench(bad)
    with pytest.raises(ClientError) as caught:
        bench.hold(bench.asking.dispatch([built()], "k"))
    assert str(caught.value) == (
        "http://127.0.0.1:8081 (api_url=…): TLS failed: self-signed certificate."
    )
    assert len(bench.sent) == 1


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "wrong",
            "http://127.0.0.1:8081 does not know the key that api_key=… has: write one of "
            "API_KEYS of the server.",
        ),
        (
            "",
            "http://127.0.0.1:8081 wants a key: set DISPATCH_API_KEY, or pass api_key=…, to one of "
            "API_KEYS of the server.",
        ),
    ],
)
def test_key_that_is_refused_is_named_by_where_it_is_set(key: str, message: str) -> None:
    """Never by what it is."""
    bench = Bench(reply(401, {"error": "key_invalid", "message": "Send one."}), key=key)
    with pytest.raises(KeyRefused) as caught:
        bench.hold(bench.asking.info(_ID))
    assert str(caught.value) == message
    assert isinstance(caught.value, PermissionError)


@pytest.mark.parametrize("came", [reply(202), reply(404, b"<html>nginx"), reply(301)])
def test_something_else_that_answers_is_taken_for_a_wrong_address(came: Reply) -> None:
    """The other listener of the server says 202 to everything."""
    bench = Bench(came)
    with pytest.raises(ClientError) as caught:
        bench.hold(bench.asking.dispatch([built()], "k"))
    assert str(caught.value) == (
        f"http://127.0.0.1:8081 (api_url=…) answers HTTP {came.status}, as the API of a dispatcher "
        "never does. DISPATCH_API_URL is http:// and its API_LISTEN, not its LISTEN."
    )


def test_answer_that_names_too_few_ids_is_an_error() -> None:
    """Nobody would know which call has which."""
    bench = Bench(ids("a"))
    with pytest.raises(ClientError, match="not an id for each call"):
        bench.hold(bench.asking.dispatch([built(), built()], "k"))


def test_calls_that_are_too_many_are_told_before_anything_is_sent() -> None:
    """One dispatch is atomic, so it is not cut into parts in secret."""
    bench = Bench(ids())
    with pytest.raises(CallsRefused) as caught:
        bench.hold(bench.asking.dispatch([built()] * 1001, "k"))
    assert str(caught.value) == (
        "1001 calls are too many for one dispatch, which takes 1000: dispatch them in parts, each "
        "with a key of its own."
    )
    assert not bench.sent


def test_calls_that_are_too_large_are_told_before_anything_is_sent() -> None:
    """The largest is named; alone, its function is."""
    bench = Bench(ids())
    calls = [built("small", bytes(7_000_000)), built("large", bytes(9_000_001))]
    with pytest.raises(CallsRefused) as caught:
        bench.hold(bench.asking.dispatch(calls, "k"))
    assert str(caught.value) == (
        "2 calls are 16000195 bytes together, and one dispatch takes 16000000: dispatch them in "
        "parts. The largest is of large, with 9000001 bytes."
    )
    with pytest.raises(CallsRefused) as caught:
        bench.hold(bench.asking.dispatch([built("large", bytes(16_000_000))], "k"))
    assert str(caught.value) == (
        "The arguments of large are 16000097 bytes, and a call takes 16000000: put large ones "
        "where the function can fetch them, and pass their address."
    )
    assert not bench.sent


def test_call_without_an_endpoint_is_told_what_to_set() -> None:
    """Where nothing says where the application listens."""
    asking = Asking(Server.found("http://h", environ={}), Bench(None).asking.tries)
    with pytest.raises(CallsRefused) as caught:
        next(asking.dispatch([built()], "k"))
    assert str(caught.value) == (
        "The call of greet has no endpoint: set DISPATCH_ENDPOINT_URL to where the application "
        "listens, or say with_options(endpoint=...)."
    )


@pytest.mark.parametrize("key", ["", "with space", "ä", "x" * 256])
def test_key_of_a_dispatch_that_can_not_be_sent_is_told(key: str) -> None:
    """It is a header."""
    bench = Bench(ids())
    with pytest.raises(CallsRefused, match=r"key= must be 1 to 255 visible ASCII characters"):
        bench.hold(bench.asking.dispatch([built()], key))


def test_result_is_waited_for_as_long_as_it_takes() -> None:
    """In waits of 30 seconds, for proxies give up after a minute."""
    output = AnyMessage(type_url="type.googleapis.com/google.protobuf.StringValue", value=b"v")
    done = reply(200, CallResult(output=output).SerializeToString())
    bench = Bench((reply(202), 30.0), (reply(202), 30.0), done)
    result = bench.hold(bench.asking.result(_ID, None))
    assert result == Value("google.protobuf.StringValue", b"v")
    assert [one.target for one in bench.sent] == [f"/v1/calls/{_ID}/result?wait=30s"] * 3
    assert bench.sent[0].headers == {"Accept": "application/proto"}
    assert bench.within_s == [40.0] * 3


def test_result_of_a_call_that_failed_is_its_error() -> None:
    """Type, message and what only its language can read."""
    error = Error(type="ValueError", message="no", value=b"v", traceback=b"t")
    bench = Bench(reply(200, CallResult(error=error).SerializeToString()))
    assert bench.hold(bench.asking.result(_ID, 1)) == Failure("ValueError", "no", b"v", b"t")


def test_result_of_nothing_is_nothing() -> None:
    """A function that returns nothing may have no output at all."""
    bench = Bench(reply(200, b""))
    assert bench.hold(bench.asking.result(_ID, 1)) == Value("google.protobuf.Empty", b"")


def test_result_that_is_not_there_in_time_is_a_timeout() -> None:
    """The last wait is what is left, and the call goes on."""
    bench = Bench((reply(202), 30.0), (reply(202), 15.5))
    with pytest.raises(NotEnded) as caught:
        bench.hold(bench.asking.result(_ID, 45.5))
    assert [one.target.partition("?")[2] for one in bench.sent] == ["wait=30s", "wait=15500ms"]
    assert str(caught.value) == (
        f"Call {_ID} has not ended in 45.5 s. It goes on: ask for its result again."
    )
    assert isinstance(caught.value, TimeoutError)


def test_result_is_asked_for_once_without_time() -> None:
    """To look whether it is there."""
    bench = Bench(reply(202))
    with pytest.raises(NotEnded):
        bench.hold(bench.asking.result(_ID, 0))
    assert [one.target.partition("?")[2] for one in bench.sent] == ["wait=0ms"]


def test_server_that_does_not_wait_is_not_asked_without_end() -> None:
    """One that stops answers at once."""
    bench = Bench((reply(202), 0.0))
    with pytest.raises(NotEnded):
        bench.hold(bench.asking.result(_ID, 2))
    assert len(bench.sent) == 11


def test_result_is_still_waited_for_when_the_server_starts_anew() -> None:
    """However long it has been waited for before: patience counts from when it went away."""
    bench = Bench((_CUT, 29.0), _REFUSED, _REFUSED, reply(200, b""))
    bench.hold(bench.asking.result(_ID, None))
    assert len(bench.sent) == 4


def test_result_is_not_waited_for_longer_than_was_said_while_the_server_is_away() -> None:
    """Its own time goes before the client's patience."""
    bench = Bench(_REFUSED)
    with pytest.raises(Unreachable):
        bench.hold(bench.asking.result(_ID, 2))
    assert bench.now_s <= 1002


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (
            404,
            "call_unknown",
            CallUnknown,
            f"http://127.0.0.1:8081 knows no call {_ID}: it never was, is another application's, "
            "or ended long ago.",
        ),
        (
            410,
            "result_expired",
            ResultGone,
            f"Call {_ID} has ended and its result is gone: it is kept for RESULT_RETENTION, and "
            "that of a call that another one made goes there alone.",
        ),
    ],
)
def test_result_that_is_nowhere_is_an_error(
    status: int, code: str, kind: type[ClientError], message: str
) -> None:
    """Which says why."""
    bench = Bench(reply(status, {"error": code, "message": "x"}))
    with pytest.raises(kind) as caught:
        bench.hold(bench.asking.result(_ID, 1))
    assert str(caught.value) == message
    assert caught.value.status is Status.NOT_FOUND


def test_call_that_has_ended_may_be_cancelled() -> None:
    """It stays as it is; so the request may be repeated when its answer was lost."""
    bench = Bench(_CUT, reply(409, {"error": "call_ended", "message": "x"}))
    bench.hold(bench.asking.cancel(_ID, kill=True))
    assert [(one.method, one.target) for one in bench.sent] == [
        ("DELETE", f"/v1/calls/{_ID}?mode=kill")
    ] * 2


def test_promise_is_completed_with_a_value_or_an_error() -> None:
    """Its name may hold anything; an operator says whose it is."""
    bench = Bench(reply(204))
    value = Value("google.protobuf.StringValue", b"v")
    bench.hold(bench.asking.complete("promise:a/b?c", value, "shop"))
    bench.hold(bench.asking.complete("promise:p", Failure("E", "m", b"v", b"t")))
    first, second = bench.sent
    assert (first.method, first.target) == ("POST", "/v1/promises/a%2Fb%3Fc?application=shop")
    assert first.headers == {"Content-Type": "application/proto"}
    assert CallResult.FromString(first.body).output.value == b"v"
    assert CallResult.FromString(second.body).error == Error(
        type="E", message="m", value=b"v", traceback=b"t"
    )


def test_promise_that_was_completed_is_an_error() -> None:
    """The first one counts."""
    bench = Bench(reply(409, {"error": "promise_completed", "message": "x"}))
    with pytest.raises(AlreadyCompleted) as caught:
        bench.hold(bench.asking.complete("promise:p", Failure("E", "m")))
    assert str(caught.value) == "Promise p was completed before, and that counts."


_COMPLETED = reply(409, {"error": "promise_completed", "message": "x"})


def completes_again(found: CallResult) -> None:
    """Give a value to a promise that has this result."""
    bench = Bench(_COMPLETED, ids("1"), reply(200, found.SerializeToString()))
    value = Value("google.protobuf.StringValue", b"mine")
    bench.hold(bench.asking.complete_again("promise:p", value))
    call = DispatchRequest.FromString(bench.sent[1].body).calls[0]
    assert (call.endpoint, bench.sent[2].method) == ("promise:p", "GET")


def test_promise_is_completed_by_who_gave_it_the_same_before() -> None:
    """Whose answer was lost, and who gives it again."""
    value = Value("google.protobuf.StringValue", b"mine")
    completes_again(call_result_of(value))


def test_promise_with_another_result_is_an_error_also_where_it_is_given_again() -> None:
    """The first one counts."""
    with pytest.raises(AlreadyCompleted):
        completes_again(call_result_of(Value("google.protobuf.StringValue", b"other's")))


@pytest.mark.parametrize("lost", [_CUT, reply(502)])
def test_promise_is_completed_by_a_try_whose_answer_was_lost(lost: Came) -> None:
    """The next one finds what the first has done."""
    value = Value("google.protobuf.StringValue", b"mine")
    found = reply(200, call_result_of(value).SerializeToString())
    bench = Bench(lost, _COMPLETED, ids("1"), found)
    bench.hold(bench.asking.complete("promise:p", value))
    assert [one.method for one in bench.sent] == ["POST", "POST", "POST", "GET"]


@pytest.mark.parametrize(
    ("application", "came"),
    [
        (None, [_REFUSED, _COMPLETED]),  # nothing was sent before
        ("shop", [_CUT, _COMPLETED]),  # another one's, whose promises can't be awaited
        (None, [_CUT, _COMPLETED, reply(403, {"error": "forbidden", "message": "x"})]),
    ],
)
def test_promise_that_was_completed_is_an_error_where_nobody_knows_whose_result_it_is(
    application: str | None, came: list[Came]
) -> None:
    """The message is the same in each case."""
    bench = Bench(*came)
    with pytest.raises(AlreadyCompleted, match="Promise p was completed before, and that counts"):
        bench.hold(bench.asking.complete("promise:p", Value("t", b""), application))
    assert len(bench.sent) == len(came)


def test_channel_is_never_sent_to_twice() -> None:
    """Unless the connection could not be made, or the server says that it did not begin."""
    starting = reply(503, {"error": "starting", "message": "x"})
    bench = Bench(_REFUSED, starting, _CUT)
    with pytest.raises(Unreachable) as caught:
        bench.hold(bench.asking.complete("channel:c", Value("google.protobuf.Empty", b"")))
    assert str(caught.value) == (
        "No answer from http://127.0.0.1:8081 (api_url=…): the connection was closed before it "
        "answered, tried 3 times. It may have done it all the same, so it was not asked again. Is "
        "the server running, and DISPATCH_API_URL its API_LISTEN?"
    )
    assert [one.target for one in bench.sent] == ["/v1/channels/c"] * 3


def test_key_that_may_not_is_told_so() -> None:
    """With the server's words, and where the key is set."""
    came = reply(403, {"error": "key_forbidden", "message": "With this key you may only look."})
    bench = Bench(came)
    with pytest.raises(ClientError) as caught:
        bench.hold(bench.asking.cancel(_ID, kill=False))
    assert str(caught.value) == "With this key you may only look. The key is api_key=…."
    assert caught.value.status is Status.PERMISSION_DENIED
