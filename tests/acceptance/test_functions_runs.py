"""Runs on the wire, and what whatever comes back means."""

from __future__ import annotations

import base64
import gzip
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from dispatcher.protocol.messages import Call, CallResult, Exit, RunResponse
from dispatcher.protocol.statuses import Status
from dispatcher.protocol.verifying import Verifier
from dispatcher.testing.ports import KeptPort
from tests.acceptance.functions import (
    PROTO,
    Client,
    Endpoint,
    Gone,
    Http,
    Reply,
    Run,
    an_any,
    exits,
    fails,
    is_first,
    polls,
)
from tests.acceptance.receiver import eventually
from tests.acceptance.served import ServerProcess

SETTINGS = {
    "CALL_RETRY_DELAY": "30",
    "CALL_RETRY_MAX_DELAY": "200",
    "CALL_START_DELAY": "0",
    "CALL_STATE_SUSPECT_AFTER": "400",
    "CALL_TIMEOUT": "60000",
    "DRAIN_TIMEOUT": "3000",
}


def test_trace_of_a_dispatch_reaches_all_that_it_calls_also_after_a_crash(tmp_path: Path) -> None:
    """As the caller sent it; whoever sent none has none."""
    parent = f"00-{7:032x}-{8:016x}-01"
    settings = {"CALL_RETRY_DELAY": "30", "CALL_START_DELAY": "0"}
    waits = threading.Event()

    def answer(run: Run) -> Reply:
        function = run.request.function
        if not is_first(run):
            return exits()
        if function == "top":
            return polls(endpoint.call("middle"))
        if function == "middle":
            return polls(endpoint.call("leaf")) if waits.is_set() else Http(503)
        return exits()

    with Endpoint(answer) as endpoint:
        with ServerProcess(tmp_path, **settings) as server:
            client = Client(server)
            headers = (f"traceparent: {parent}", "tracestate: a=1")
            (number,) = client.dispatch(endpoint.call("top"), headers=headers)
            eventually(lambda: endpoint.of("middle"))
            server.kill()
        waits.set()
        with ServerProcess(tmp_path, **settings) as server:
            client = Client(server)
            assert client.result(number) is not None
            client.dispatch(endpoint.call("other"))
            eventually(lambda: endpoint.of("other"))
    for run in endpoint.runs:
        expected = (None, None) if run.request.function == "other" else (parent, "a=1")
        assert (run.headers.get("traceparent"), run.headers.get("tracestate")) == expected
    assert {run.request.function for run in endpoint.runs} == {"top", "middle", "leaf", "other"}


def once(
    reply: Reply, then: Callable[[Run], Reply] = lambda run: exits()
) -> Callable[[Run], Reply]:
    """This for the first run of each call, and then something else."""
    seen: set[str] = set()

    def answer(run: Run) -> Reply:
        id = run.request.dispatch_id
        if id in seen:
            return then(run)
        seen.add(id)
        return reply

    return answer


def test_run_as_it_stands_on_the_wire(
    server: ServerProcess, client: Client, endpoint: Endpoint
) -> None:
    """All of it: the headers, and a signature that the public key verifies."""
    call = endpoint.call("f", input=an_any(b"in"))
    call.endpoint += "/base"
    (id,) = client.dispatch(call)
    client.result(id)
    (run,) = endpoint.runs
    path = "/base/dispatch.sdk.v1.FunctionService/Run"
    assert run.lines[0] == f"POST {path} HTTP/1.1"
    names = [line.partition(":")[0] for line in run.lines[1:]]
    assert sorted(names) == sorted(
        [
            "Host",
            "Content-Type",
            "Content-Length",
            "Connect-Protocol-Version",
            "Connect-Timeout-Ms",
            "User-Agent",
            "Content-Digest",
            "Signature-Input",
            "Signature",
            "X-Dispatcher-Features",
            "X-Dispatcher-Message-Id",
            "X-Dispatcher-Attempt",
        ]
    )
    headers = run.headers
    assert headers["host"] == f"127.0.0.1:{endpoint.port}"
    assert headers["content-type"] == PROTO
    assert headers["content-length"] == str(len(run.body))
    assert headers["connect-protocol-version"] == "1"
    assert headers["connect-timeout-ms"] == "60000"
    assert 'keyid="default"' in headers["signature-input"]
    assert "tag" not in headers["signature-input"]
    keys = client.ask(
        "POST",
        "/dispatch.v1.SigningKeyService/ListSigningKeys",
        "Content-Type: application/json",
        body=b"{}",
    ).json["keys"]
    key = load_pem_public_key(keys[0]["asymmetricKey"]["publicKey"].encode())
    assert isinstance(key, Ed25519PublicKey)
    Verifier([key]).verify(
        method="POST",
        target=path,
        host=headers["host"],
        headers=headers.items(),
        body=run.body,
        now_s=time.time(),
    )
    request = run.request
    assert (request.function, request.dispatch_id, request.root_dispatch_id) == ("f", id, id)
    assert request.parent_dispatch_id == ""
    assert request.input == an_any(b"in")
    lasts = request.expiration_time.seconds - request.creation_time.seconds
    assert lasts == 86_400


TERMINAL: dict[str, tuple[RunResponse | Http, str | None]] = {
    "http 400": (Http(400), "InvalidArgument"),
    "http 401": (Http(401, b'{"code": "unauthenticated"}'), "Unauthenticated"),
    "http 403": (Http(403), "PermissionDenied"),
    "http 404": (Http(404, b"no such thing"), "NotFound"),
    "http 405": (Http(405), None),
    "http 413": (Http(413), None),
    "http 415": (Http(415), None),
    "http 501": (Http(501), "PermanentError"),
    "http 204": (Http(204), "InvalidResponse"),
    "http 302": (Http(302, headers=("Location: http://127.0.0.1:9/",)), "InvalidResponse"),
    "no protobuf": (Http(200, b"\xff\xff", (f"Content-Type: {PROTO}",)), "InvalidResponse"),
    "html": (Http(200, b"<html>", ("Content-Type: text/html",)), "InvalidResponse"),
    "json": (Http(200, b"{}", ("Content-Type: application/json",)), "InvalidResponse"),
    "no directive": (RunResponse(status=Status.OK.value), "InvalidResponse"),
    "no status": (fails(0), "ValueError"),
    "a newer status": (fails(99), "ValueError"),
    "INVALID_ARGUMENT": (fails(4), "ValueError"),
    "INVALID_RESPONSE": (fails(5), "ValueError"),
    "PERMANENT_ERROR": (fails(7), "ValueError"),
    "UNAUTHENTICATED": (fails(13), "ValueError"),
    "PERMISSION_DENIED": (fails(14), "ValueError"),
    "NOT_FOUND": (fails(15), "ValueError"),
    "NOT_FOUND alone": (RunResponse(status=Status.NOT_FOUND.value), "NotFound"),
}


def test_what_ends_a_call(client: Client, endpoint: Endpoint) -> None:
    """At once: one run, the error that the application gave or one that says what came, and a dead
    letter."""
    names = {f"f{number}": name for number, name in enumerate(TERMINAL)}
    endpoint.answer = lambda run: TERMINAL[names[run.request.function]][0]
    ids = client.dispatch(*map(endpoint.call, names))
    for id, (function, name) in zip(ids, names.items(), strict=True):
        error = client.error(id)
        reply, kind = TERMINAL[name]
        assert kind in (None, error.type), (name, error)
        assert len(endpoint.of(function)) == 1, name
        if isinstance(reply, RunResponse) and reply.HasField("exit"):
            assert (error.message, error.value) == ("no", b"\x80pickled")
            assert error.traceback == b"at line 1"
        else:
            assert error.message
        eventually(lambda id=id: client.ask("GET", f"/v1/dead-letters/{id}").status == 200)  # type: ignore[misc]  # bound at once
        assert client.state(id) == "failed"


def test_wrong_verification_key_ends_each_call_at_once_and_all_are_redriven(
    client: Client, endpoint: Endpoint
) -> None:
    """401 and 403 are final, as the protocol says, and an application that answers them is not left
    alone. The letters say what to look at, and that it was HTTP; with the right key they end."""
    statuses = (401, 403) * 6
    endpoint.answer = lambda run: Http(statuses[len(endpoint.runs) - 1])
    ids = []
    for _ in statuses:
        ids += client.dispatch(endpoint.call("f", input=an_any(b"in")))
        assert client.error(ids[-1]).type in ("Unauthenticated", "PermissionDenied")
    assert len(endpoint.runs) == len(statuses)
    for id, status in zip(ids, statuses, strict=True):
        path = f"/v1/dead-letters/{id}"
        eventually(lambda path=path: client.ask("GET", path).status == 200)  # type: ignore[misc]  # bound at once
        letter = client.ask("GET", path).json
        assert letter["last_error"] in ("unauthenticated", "permission_denied")
        assert f"HTTP {status}" in letter["detail"]
        assert "dispatcher keys show" in letter["detail"]
        assert [one["status"] for one in letter["history"]] == [status]
    lanes = client.ask("GET", "/v1/stats").json["calls"]["lanes"]
    (lane,) = (lane for lane in lanes if lane["endpoint"] == endpoint.url)
    assert (lane["breaker"], lane["paused_until"]) == ("closed", None)
    endpoint.answer = lambda run: exits(run.request.input.value)
    for id in ids:
        assert client.ask("POST", f"/v1/dead-letters/{id}/redrive").status == 202
        assert client.output(id) == b"in"


RETRIED: dict[str, Reply] = {
    "http 408": Http(408),
    "http 429": Http(429),
    "http 500": Http(500, b"{}"),
    "http 500, and closed": Http(500, b"{}", closes=True),
    "http 502": Http(502),
    "http 503": Http(503),
    "http 504": Http(504),
    "http 507": Http(507),
    "gone": Gone(),
    "cut short": Http(200, b"\x08", (f"Content-Type: {PROTO}",), is_cut=True),
    "TIMEOUT": fails(2),
    "THROTTLED": fails(3),
    "TEMPORARY_ERROR": fails(6),
    "TEMPORARY_ERROR with an output": exits(b"not yet", Status.TEMPORARY_ERROR),
    "DNS_ERROR": fails(9),
    "TCP_ERROR": fails(10),
    "TLS_ERROR": fails(11),
    "HTTP_ERROR": fails(12),
}


@pytest.mark.parametrize("name", RETRIED)
def test_what_is_tried_again(client: Client, endpoint: Endpoint, name: str) -> None:
    """The same request, byte for byte, signed anew; then it succeeds."""
    endpoint.answer = once(RETRIED[name])
    (id,) = client.dispatch(endpoint.call("f", input=an_any(b"in")))
    assert client.output(id) == b"done"
    first, second = endpoint.runs
    assert first.body == second.body
    assert (first.headers["x-dispatcher-attempt"], second.headers["x-dispatcher-attempt"]) == (
        "1",
        "2",
    )
    assert second.at_s - first.at_s >= 0.02


def test_silence_is_tried_again_after_the_timeout(tmp_path: Path) -> None:
    """And not before."""
    settings = {**SETTINGS, "CALL_TIMEOUT": "1500", "DRAIN_TIMEOUT": "100"}
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ServerProcess(tmp_path, **settings) as server,
    ):
        silent.settimeout(60)
        began = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        Client(server).dispatch(Call(endpoint=url, function="f"))
        first, _ = silent.accept()
        second, _ = silent.accept()
        assert time.monotonic() - began >= 1.5 - 0.002  # its clock counts whole milliseconds
        first.close()
        second.close()


def test_retry_after_is_waited_for(client: Client, endpoint: Endpoint) -> None:
    """Of an HTTP status, and of a RunResponse; it is longer than CALL_RETRY_MAX_DELAY."""
    throttled = fails(3).SerializeToString()
    for reply in (
        Http(429, headers=("Retry-After: 1",)),
        Http(200, throttled, (f"Content-Type: {PROTO}", "Retry-After: 1")),
    ):
        endpoint.runs.clear()
        endpoint.answer = once(reply)
        (id,) = client.dispatch(endpoint.call("f"))
        client.result(id)
        first, second = endpoint.runs
        assert second.at_s - first.at_s >= 1.0


def test_output_and_error_together_reach_the_caller(client: Client, endpoint: Endpoint) -> None:
    """A partial result."""
    both = fails(7)
    both.exit.result.output.CopyFrom(an_any(b"half"))
    endpoint.answer = lambda run: both
    (id,) = client.dispatch(endpoint.call("f"))
    result = client.result(id)
    assert result.output == an_any(b"half")
    assert result.error.type == "ValueError"


def test_result_with_nothing_in_it_is_a_result(client: Client, endpoint: Endpoint) -> None:
    """A function that returns None may say so."""
    endpoint.answer = lambda run: RunResponse(
        status=Status.OK.value, exit=Exit(result=CallResult())
    )
    (id,) = client.dispatch(endpoint.call("f"))
    assert client.result(id) == CallResult()
    assert client.state(id) == "succeeded"


# Clients' quirks: protocol 7 and 11.


def test_run_that_has_ended_in_its_process_is_not_asked_for_ever(
    client: Client, endpoint: Endpoint
) -> None:
    """7.1: its response was lost, and dispatch-py answers 500 from then on, while other calls
    succeed."""

    def answer(run: Run) -> Reply:
        return lost(run) if run.request.function == "lost" else exits()

    lost = once(Gone(), lambda run: Http(500, b"{}", closes=True))
    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("lost"))
    eventually(lambda: len(endpoint.of("lost")) >= 3)
    other, *_ = client.dispatch(endpoint.call("well"))
    client.result(other)
    for _ in range(20):
        client.result(client.dispatch(endpoint.call("well"))[0])
        if client.state(id) == "failed":
            break
        time.sleep(0.1)
    assert client.error(id).type == "InvalidResponse"
    assert 6 <= len(endpoint.of("lost")) < 25


def test_call_whose_state_cannot_be_read_any_more_begins_anew(
    client: Client, endpoint: Endpoint
) -> None:
    """7.2: after CALL_STATE_SUSPECT_AFTER of 500s on a resume, while other runs succeed."""
    runs = {"count": 0}

    def answer(run: Run) -> Reply:
        if run.request.function == "well":
            return exits()
        if is_first(run):
            runs["count"] += 1
            return polls(state=b"old code", wait_ms=0) if runs["count"] == 1 else exits(b"anew")
        return Http(500, b"{}")

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("changed"))
    for _ in range(60):
        client.result(client.dispatch(endpoint.call("well"))[0])
        if client.ask("GET", f"/v1/calls/{id}").json["ended_at"]:
            break
        time.sleep(0.1)
    assert client.output(id) == b"anew"


def test_deploy_restarts_nothing(client: Client, endpoint: Endpoint) -> None:
    """502 and 503 for longer than CALL_STATE_SUSPECT_AFTER: the resume is sent as it was."""
    until = time.monotonic() + 1.2

    def answer(run: Run) -> Reply:
        if is_first(run):
            return polls(state=b"s", wait_ms=0)
        is_deployed = time.monotonic() >= until and len(endpoint.runs) > 4
        return exits() if is_deployed else Http(503)

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("f"))
    client.result(id)
    first, *resumes = endpoint.runs
    assert is_first(first)
    assert len(resumes) > 2
    assert len({run.body for run in resumes}) == 1


def test_application_that_is_not_there_yet_is_asked_until_it_is(client: Client) -> None:
    """7.6 and 11.12: applications dispatch before they listen, and end right after it."""
    with KeptPort() as port:
        (id,) = client.dispatch(Call(endpoint=f"http://127.0.0.1:{port.number}", function="f"))
        time.sleep(0.5)
        assert client.state(id) in ("scheduled", "ready", "running")
        with Endpoint(lambda run: exits(), port.number):
            assert client.output(id) == b"done"


def test_failure_by_the_server_is_known_to_who_waits(client: Client, endpoint: Endpoint) -> None:
    """7.5: the SDK's own waiting never hears of it; the result does, at once."""
    endpoint.answer = lambda run: Http(404)
    (id,) = client.dispatch(endpoint.call("f"))
    assert client.error(id).type == "NotFound"


def test_volatile_coroutine_that_is_gone_ends_its_call(client: Client, endpoint: Endpoint) -> None:
    """11.1: PERMANENT_ERROR on a resume."""

    def answer(run: Run) -> Reply:
        return polls(state=b"1", wait_ms=0) if is_first(run) else fails(7, "errorString", "gone")

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("f"))
    assert client.error(id).message == "gone"
    assert len(endpoint.runs) == 2


def test_client_that_swallows_a_lost_response_makes_no_hot_loop(
    client: Client, endpoint: Endpoint
) -> None:
    """11.2: dispatch-go in volatile mode answers polls without calls, with the same state. Empty
    resumes come later and later, and its expiration ends it."""

    def answer(run: Run) -> Reply:
        return polls(state=b"instance 1", min_results=1)

    endpoint.answer = answer
    call = endpoint.call("f")
    call.expiration.seconds = 2
    (id,) = client.dispatch(call)
    assert client.error(id).type == "Expired"
    assert len(endpoint.runs) < 40  # delays of 30 ms that double up to 200 ms, over 2 s


def test_process_that_ends_is_asked_again(client: Client, endpoint: Endpoint) -> None:
    """11.3: a panic ends the whole process; in the middle of a resume too."""
    gone = once(Gone())

    def answer(run: Run) -> Reply:
        return polls(state=b"s", wait_ms=0) if is_first(run) else gone(run)

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("f"))
    assert client.output(id) == b"done"
    _, second, third = endpoint.runs
    assert second.body == third.body


def test_gzipped_answer_is_not_taken_for_something_else(client: Client, endpoint: Endpoint) -> None:
    """11.7: it was not offered; who sends it all the same is read, or refused in words."""
    body = gzip.compress(exits().SerializeToString())
    headers = (f"Content-Type: {PROTO}", "Content-Encoding: gzip")
    endpoint.answer = lambda run: Http(200, body, headers)
    (id,) = client.dispatch(endpoint.call("f"))
    result = client.result(id)
    if result.HasField("error"):
        assert result.error.type == "InvalidResponse"
        assert "gzip" in result.error.message


def test_key_that_is_shown_is_the_one_that_signs(client: Client, endpoint: Endpoint) -> None:
    """And the test vector of the protocol is about 32 bytes."""
    answer = client.ask(
        "POST",
        "/dispatch.v1.SigningKeyService/ListSigningKeys",
        "Content-Type: application/json",
        body=b"{}",
    )
    (key,) = answer.json["keys"]
    pem = key["asymmetricKey"]["publicKey"]
    assert pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert len(base64.b64decode(pem.split("\n")[1])) == 44
