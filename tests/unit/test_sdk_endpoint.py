"""What an application answers over HTTP."""

from __future__ import annotations

import gzip
import json
import logging
from typing import Any

import pytest

from dispatcher.protocol.connect import Encoding
from dispatcher.protocol.keys import new_private_key
from dispatcher.protocol.messages import RunRequest, RunResponse
from dispatcher.protocol.signing import RUN_PATH, Signer, content_digest
from dispatcher.protocol.statuses import Status
from dispatcher.protocol.verifying import Verifier
from dispatcher.sdk.endpoint import Answer, Endpoint
from dispatcher.sdk.functions import context
from dispatcher.sdk.values import encode
from dispatcher.sdk.wire import any_of
from dispatcher.testing.runnables import FakeRunnable, returned, runner

NOW_S = 1_700_000_000
PROTO = Encoding.PROTO.value
HEADERS = {"Content-Type": PROTO, "Host": "app.example"}


async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def busy() -> None:
    class Busy(Exception):
        status = Status.THROTTLED
        retry_after = 2.5

    raise Busy("later")


async def told() -> object:
    here = context.inside.get()
    assert here is not None
    return sorted(here.told.features)


def endpoint(verifier: Verifier | None = None) -> Endpoint:
    """With three functions."""
    functions = [FakeRunnable(one) for one in (greet, busy, told)]
    return Endpoint(runner(*functions), verifier, about=lambda: "hello", now_s=lambda: NOW_S)


def run_of(function: str = "greet", value: object = "Ada") -> bytes:
    """A request."""
    return RunRequest(
        function=function, dispatch_id="1", input=any_of(encode(value))
    ).SerializeToString()


async def post(
    body: bytes, headers: dict[str, str] = HEADERS, *, path: str = RUN_PATH, **more: Any
) -> Answer:
    """Send a request."""
    return await endpoint(**more).handle("POST", path, headers, body)


def error(answer: Answer) -> tuple[int, str, str]:
    """Status, code and message of an error as Connect has it."""
    assert dict(answer.headers)["Content-Type"] == "application/json"
    said = json.loads(answer.body)
    return answer.status, said["code"], said["message"]


@pytest.mark.parametrize("path", [RUN_PATH, f"/base/of/it{RUN_PATH}", f"{RUN_PATH}?a=b"])
async def test_a_run_is_answered_with_its_result(path: str) -> None:
    """Wherever the application is mounted."""
    answer = await post(run_of(), path=path)
    assert (answer.status, dict(answer.headers)) == (200, {"Content-Type": PROTO})
    assert returned(RunResponse.FromString(answer.body)) == "Hello, Ada!"


async def test_headers_may_be_pairs_in_any_case() -> None:
    """As servers have them."""
    pairs = [("CONTENT-TYPE", f"{PROTO}; charset=utf-8"), ("x-dispatcher-features", "keep, append")]
    answer = await endpoint().handle("post", RUN_PATH, pairs, run_of("told", None))
    assert returned(RunResponse.FromString(answer.body)) == ["append", "keep"]


async def test_an_answer_says_when_to_try_again() -> None:
    """In whole seconds, which is what the header holds."""
    answer = await post(run_of("busy", None))
    assert dict(answer.headers) == {"Content-Type": PROTO, "Retry-After": "3"}
    assert RunResponse.FromString(answer.body).status == Status.THROTTLED


async def test_a_body_may_be_packed() -> None:
    """As Connect allows."""
    answer = await post(gzip.compress(run_of()), HEADERS | {"Content-Encoding": "gzip"})
    assert returned(RunResponse.FromString(answer.body)) == "Hello, Ada!"


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"\xff", {}, (400, "invalid_argument", "the body is not a RunRequest in protobuf")),
        (b"", {}, (400, "invalid_argument", "the request names no function")),
        (
            RunRequest(function="greet").SerializeToString(),
            {},
            (400, "invalid_argument", "the request has neither an input nor a poll_result"),
        ),
        (
            run_of("unknown"),
            {},
            (
                404,
                "not_found",
                "the application has no function 'unknown': give it to Dispatch(…)",
            ),
        ),
        (
            run_of(),
            {"Content-Type": "application/json"},
            (415, "unknown", "Content-Type has to be application/proto"),
        ),
        (
            bytes(16_000_001),
            {},
            (
                400,
                "invalid_argument",
                "the body has 16000001 bytes, and 16000000 is the most",
            ),
        ),
        (
            run_of(),
            {"Connect-Timeout-Ms": "soon"},
            (
                400,
                "invalid_argument",
                "Connect-Timeout-Ms: expected milliseconds as at most 10 digits, got 'soon'",
            ),
        ),
        (
            run_of(),
            {"Connect-Protocol-Version": "2"},
            (400, "invalid_argument", "Connect-Protocol-Version: expected '1', got '2'"),
        ),
    ],
)
async def test_a_request_that_is_malformed_is_told_so(
    body: bytes, headers: dict[str, str], said: tuple[int, str, str]
) -> None:
    """Before anything runs, as a Connect error."""
    assert error(await post(body, HEADERS | headers)) == said


async def test_other_requests_are_told_what_there_is() -> None:
    """Another path, another method."""
    nothing = (
        f"this is an application, and answers only POST …{RUN_PATH}, where the server sends its "
        "runs; DISPATCH_API_URL is the address of the server"
    )
    assert error(await post(b"", path="/other")) == (404, "not_found", nothing)
    assert error(await endpoint().handle("DELETE", "/", {}, b""))[0] == 404
    answer = await endpoint().handle("GET", RUN_PATH, {}, b"")
    assert error(answer) == (405, "unimplemented", "a Run is a POST")
    assert dict(answer.headers)["Allow"] == "POST"


async def test_people_and_health_checks_are_answered() -> None:
    """Whatever path they look at; with HEAD without a body."""
    answer = await endpoint().handle("GET", "/", {}, b"")
    assert (answer.status, answer.body) == (200, b"hello\n")
    assert dict(answer.headers) == {"Content-Type": "text/plain; charset=utf-8"}
    assert (await endpoint().handle("HEAD", "/healthz", {}, b"")).body == b""


def signed(body: bytes, key: Any, path: str = RUN_PATH) -> dict[str, str]:
    """The headers of a request that the server signed."""
    target = Signer(key).target("app.example", path)
    head = target.sign(content_digest(body), NOW_S).head.decode()
    return HEADERS | dict(line.split(": ", 1) for line in head.strip().split("\r\n"))


@pytest.mark.parametrize("size", [0, 2_000_000])
async def test_a_signed_request_is_answered(size: int) -> None:
    """Also a large one, whose digest is computed in a thread."""
    key = new_private_key()
    body, path = run_of("greet", "x" * size), f"/base{RUN_PATH}"
    verifier = Verifier([new_private_key().public_key(), key.public_key()])
    answer = await post(body, signed(body, key, path), path=path, verifier=verifier)
    assert RunResponse.FromString(answer.body).status == Status.OK


async def test_requests_of_others_are_refused() -> None:
    """Not signed, signed by another key, with another body, for another path."""
    key = new_private_key()
    verifier, body = Verifier([key.public_key()]), run_of()
    assert error(await post(body, verifier=verifier))[:2] == (403, "permission_denied")
    for headers in (signed(body, new_private_key()), signed(b"", key), signed(body, key, "/x")):
        assert error(await post(body, headers, verifier=verifier))[:2] == (403, "permission_denied")


async def test_what_nobody_foresaw_is_an_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The server is not told what it was: it may hold anything."""

    class Broken:
        async def answer(self, run: object) -> object:
            raise LookupError("a secret")

    broken: Any = Broken()
    with caplog.at_level(logging.ERROR, "dispatcher.sdk"):
        answer = await Endpoint(broken, None, about=str).handle("POST", RUN_PATH, HEADERS, run_of())
    assert error(answer) == (500, "internal", "the application's log says what went wrong")
    assert "a secret" in caplog.text
