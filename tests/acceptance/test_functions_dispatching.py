"""Calls are dispatched by whoever speaks HTTP: what is right is stored, all of it, and what is
wrong is refused with the call and the field."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator

import pytest

from dispatcher.protocol.messages import Any, Call, DispatchRequest, DispatchResponse, Duration
from tests.acceptance.functions import DISPATCH, PROTO, Client, Endpoint, an_any, exits
from tests.acceptance.receiver import eventually
from tests.acceptance.served import ServerProcess

SETTINGS = {
    "API_KEYS": "app:dispatch:sd,other:dispatch:so,looks:read:sr,boss:admin:sa",
    "CALL_START_DELAY": "150",
}
URL = "http://127.0.0.1:9"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint(lambda run: exits(run.request.input.value)) as made:
        yield made


@pytest.fixture
def client(server: ServerProcess) -> Client:
    return Client(server, "sd")


def count(client: Client) -> int:
    return len(client.ask("GET", "/v1/calls?limit=1000").json["items"])


WRONG = {
    "no endpoint": (Call(function="f"), "calls[1].endpoint", 400),
    "another scheme": (Call(endpoint="ftp://a", function="f"), "calls[1].endpoint", 400),
    "no host": (Call(endpoint="http://", function="f"), "calls[1].endpoint", 400),
    "a query": (Call(endpoint="http://a/?x=1", function="f"), "calls[1].endpoint", 400),
    "no session": (Call(endpoint="bridge://", function="f"), "calls[1].endpoint", 400),
    "no name": (Call(endpoint="promise:", function="f"), "calls[1].endpoint", 400),
    "lambda": (Call(endpoint="arn:aws:lambda:x", function="f"), "calls[1].endpoint", 501),
    "no function": (Call(endpoint=URL), "calls[1].function", 400),
    "a function with a space": (Call(endpoint=URL, function="a b"), "calls[1].function", 400),
    "a digit first": (Call(endpoint=URL, function="1a"), "calls[1].function", 400),
    "a long function": (Call(endpoint=URL, function="a" * 1001), "calls[1].function", 400),
    "a long version": (
        Call(endpoint=URL, function="f", version="1" * 256), "calls[1].version", 400,
    ),
    "negative": (
        Call(endpoint=URL, function="f", expiration=Duration(seconds=-1)),
        "calls[1].expiration",
        400,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_call_is_named_and_nothing_is_stored(client: Client, name: str) -> None:
    """The others of its batch are not run either."""
    wrong, where, status = WRONG[name]
    before = count(client)
    right = Call(endpoint=URL, function="right")
    answer = client.post(DispatchRequest(calls=[right, wrong, right]))
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["code"] == {400: "invalid_argument", 501: "unimplemented"}[status]
    assert where in answer.json["message"]
    assert count(client) == before


def test_functions_may_be_called_what_they_are_called_in_python(
    client: Client, endpoint: Endpoint
) -> None:
    """A function within a function, a method."""
    names = ["_a", "outer.<locals>.inner", "Class.method", "<lambda>"[1:-1], "a" * 1000]
    ids = client.dispatch(*(endpoint.call(name) for name in names))
    for id, name in zip(ids, names, strict=True):
        client.result(id)
        assert endpoint.of(name, id)


def as_json(*calls: Call) -> bytes:
    """A DispatchRequest as JSON, made by hand."""
    packed = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "h\u00e9"}
    return json.dumps(
        {
            "calls": [
                {"endpoint": c.endpoint, "function": c.function, "input": packed} for c in calls
            ]
        }
    ).encode()


@pytest.mark.parametrize("is_gzipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", [PROTO, "application/json"])
def test_requests_come_in_protobuf_and_json_gzipped_or_not(
    client: Client, endpoint: Endpoint, kind: str, is_gzipped: bool
) -> None:
    """The answer comes in kind."""
    calls = [endpoint.call("f"), endpoint.call("g")]
    text = Any(type_url="type.googleapis.com/google.protobuf.StringValue", value=b"\n\x03h\xc3\xa9")
    for call in calls:
        call.input.CopyFrom(text)
    is_json = kind != PROTO
    body = as_json(*calls) if is_json else DispatchRequest(calls=calls).SerializeToString()
    headers = [f"Content-Type: {kind}"]
    if is_gzipped:
        body = gzip.compress(body)
        headers.append("Content-Encoding: gzip")
    answer = client.ask("POST", DISPATCH, *headers, body=body)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == kind
    if is_json:
        ids = answer.json["dispatchIds"]
    else:
        ids = list(DispatchResponse.FromString(answer.body).dispatch_ids)
    assert len(ids) == 2
    for id, call in zip(ids, calls, strict=True):
        client.result(id)
        (run,) = endpoint.of(call.function, id)
        assert run.request.input == text


def test_thousand_calls_are_one_batch_and_one_more_is_too_many(
    client: Client, endpoint: Endpoint
) -> None:
    """Their ids come in their order."""
    calls = [endpoint.call("f", input=an_any(b"%d" % number)) for number in range(1000)]
    ids = client.dispatch(*calls)
    assert len(set(ids)) == 1000
    for number in (0, 499, 999):
        assert client.output(ids[number]) == b"%d" % number
    eventually(lambda: len(endpoint.of("f")) == 1000)
    refused = client.post(DispatchRequest(calls=[*calls, calls[0]]))
    assert refused.status == 429
    assert refused.json["code"] == "resource_exhausted"
    assert "1001 calls" in refused.json["message"]


def test_largest_input_reaches_the_application(client: Client, endpoint: Endpoint) -> None:
    """Nearly 16 000 000 bytes; above, it is refused."""
    large = bytes(range(250)) * 63_900  # 15.975 MB
    (id,) = client.dispatch(endpoint.call("f", input=an_any(large)))
    assert client.output(id) == large
    refused = client.post(DispatchRequest(calls=[endpoint.call("f", input=an_any(bytes(16**6)))]))
    assert refused.status == 429
    assert refused.json["code"] == "resource_exhausted"


def test_idempotency_key_makes_one_batch(client: Client, endpoint: Endpoint) -> None:
    """The same body gets the same ids, and is run once; another body is refused; another
    application has keys of its own."""
    message = DispatchRequest(calls=[endpoint.call("f"), endpoint.call("g")])
    first = client.post(message, "Idempotency-Key: k-1")
    again = client.post(message, "Idempotency-Key: k-1")
    assert first.body == again.body
    other = client.post(DispatchRequest(calls=[endpoint.call("h")]), "Idempotency-Key: k-1")
    assert other.status == 409
    assert other.json["code"] == "already_exists"
    for id in DispatchResponse.FromString(first.body).dispatch_ids:
        client.result(id)
    assert len(endpoint.runs) == 2
    wrong = client.post(message, "Idempotency-Key: ")
    assert wrong.status == 400


def test_keys_of_applications_do_not_meet(server: ServerProcess, endpoint: Endpoint) -> None:
    """Neither their idempotency keys nor their calls."""
    app, other = Client(server, "sd"), Client(server, "so")
    message = DispatchRequest(calls=[endpoint.call("f")])
    mine = DispatchResponse.FromString(app.post(message, "Idempotency-Key: both").body)
    theirs = DispatchResponse.FromString(other.post(message, "Idempotency-Key: both").body)
    (my_id,), (their_id,) = mine.dispatch_ids, theirs.dispatch_ids
    assert my_id != their_id
    app.result(my_id)
    for path in ("", "/result", "/tree", "/timeline"):
        assert other.ask("GET", f"/v1/calls/{my_id}{path}").status == 404
    assert other.ask("DELETE", f"/v1/calls/{my_id}").status == 404
    assert Client(server, "sa").ask("GET", f"/v1/calls/{my_id}").status == 200


def test_wrong_key_is_told_in_the_way_that_clients_read(server: ServerProcess) -> None:
    """401 with the code `unauthenticated`: dispatch-go reports a wrong key only then."""
    message = DispatchRequest(calls=[Call(endpoint=URL, function="f")])
    for key in ("", "wrong"):
        answer = Client(server, key).post(message)
        assert answer.status == 401
        assert answer.json["code"] == "unauthenticated"
        assert answer.headers["content-type"] == "application/json"
    for path in ("ListSigningKeys", "CreateSigningKey"):
        answer = Client(server).ask(
            "POST",
            f"/dispatch.v1.SigningKeyService/{path}",
            "Content-Type: application/json",
            body=b"{}",
        )
        assert answer.status == 401
    refused = Client(server, "sr").post(message)
    assert refused.status == 403
    assert refused.json["code"] == "permission_denied"


def test_empty_batch_is_answered_with_no_ids(client: Client) -> None:
    """dispatch-go sends them."""
    assert client.dispatch() == []


def test_body_that_is_no_request_is_refused(client: Client) -> None:
    """Whatever it is."""
    wrong = client.ask("POST", DISPATCH, f"Content-Type: {PROTO}", body=b"\xff\xff")
    assert wrong.status == 400
    assert wrong.json["code"] == "invalid_argument"
    wrong = client.ask("POST", DISPATCH, "Content-Type: application/json", body=b'{"calls": 1}')
    assert wrong.status == 400
    wrong = client.ask("POST", DISPATCH, "Content-Type: text/plain", body=b"hello")
    assert wrong.status == 415
    cut = gzip.compress(DispatchRequest().SerializeToString() + bytes(100))[:-5]
    headers = (f"Content-Type: {PROTO}", "Content-Encoding: gzip")
    assert client.ask("POST", DISPATCH, *headers, body=cut).status == 400


def test_gzip_that_would_be_too_large_is_refused(client: Client) -> None:
    """A bomb is not unpacked."""
    bomb = gzip.compress(bytes(100_000_000))
    headers = (f"Content-Type: {PROTO}", "Content-Encoding: gzip")
    refused = client.ask("POST", DISPATCH, *headers, body=bomb)
    assert refused.status == 429
    assert refused.json["code"] == "resource_exhausted"


def test_api_address_with_a_slash_at_its_end_works(
    server: ServerProcess, client: Client, endpoint: Endpoint
) -> None:
    """Clients put the path behind what they were given."""
    body = DispatchRequest(calls=[endpoint.call("f")]).SerializeToString()
    kind = f"Content-Type: {PROTO}"
    answer = client.ask("POST", f"/{DISPATCH}", kind, body=body)
    assert answer.status == 200, answer
    (id,) = DispatchResponse.FromString(answer.body).dispatch_ids
    client.result(id)
    refused = Client(server, "wrong").ask("POST", f"/{DISPATCH}", kind, body=body)
    assert (refused.status, refused.json["code"]) == (401, "unauthenticated")
    assert Client(server, "sr").ask("POST", f"/{DISPATCH}", kind, body=body).status == 403


def test_first_run_comes_after_the_answer_for_clients_that_need_it(
    client: Client, endpoint: Endpoint
) -> None:
    """dispatch-py, which sends what aiohttp sends; others need not wait."""
    agent = "User-Agent: Python/3.11 aiohttp/3.14.5"
    for headers, is_late in (((agent,), True), (("User-Agent: connect-go/1.16",), False)):
        (id,) = client.dispatch(endpoint.call("f"), headers=headers)
        client.result(id)
        info = client.ask("GET", f"/v1/calls/{id}/timeline").json["entries"]
        created = next(entry["at"] for entry in info if entry["step"] == "created")
        run = next(entry["at"] for entry in info if entry["step"] == "run")
        assert (_seconds(run) - _seconds(created) >= 0.15) is is_late, info


def _seconds(instant: str) -> float:
    hours, minutes, seconds = instant.removesuffix("Z").split("T")[1].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_result_is_shown_as_json_and_as_it_is(client: Client, endpoint: Endpoint) -> None:
    """What is not known is bytes."""
    (id,) = client.dispatch(endpoint.call("f", input=an_any(b"\xff\x00")))
    assert client.output(id) == b"\xff\x00"
    shown = client.ask("GET", f"/v1/calls/{id}/result").json
    assert shown["state"] == "succeeded"
    assert shown["output_type"] == "T"
    assert base64.b64decode(shown["output_bytes"]) == b"\xff\x00"
    waited = client.ask("POST", "/dispatch.sdk.v1.DispatchService/Wait", body=id.encode())
    assert waited.status == 200
    assert waited.headers["content-type"] == PROTO


def test_stats_count_what_calls_need_of_the_log(server: ServerProcess, client: Client) -> None:
    """As what messages need."""
    looks = Client(server, "sr")
    before = looks.ask("GET", "/v1/stats").json["log_live_bytes"]
    waits = Call(endpoint="promise:needed", function="f", input=an_any(b"x" * 10_000))
    client.dispatch(waits)
    assert looks.ask("GET", "/v1/stats").json["log_live_bytes"] >= before + 10_000
