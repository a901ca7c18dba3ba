"""Runs over loopback: what is sent is signed, and whatever comes back means what it should."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dispatcher.core.clock import SystemClock
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.functions.ids import call_id
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.rules import Rules
from dispatcher.protocol.messages import CallResult, RunRequest, RunResponse
from dispatcher.protocol.statuses import Status
from dispatcher.protocol.verifying import Verifier
from dispatcher.testing.application import SIGNING_KEY, Running, an_any, exits, polls
from dispatcher.testing.destination import (
    Close,
    FakeDestination,
    Reset,
    Script,
    Send,
    Wait,
    answer,
)

RULES = Rules(retry_delay_ms=10, retry_max_delay_ms=2000)
PROTO = ("Content-Type", "application/proto")


def says(response: RunResponse) -> Script:
    """The script of a good answer."""
    return answer(200, response.SerializeToString(), PROTO)


@pytest.fixture
async def destination() -> AsyncIterator[FakeDestination]:
    async with FakeDestination() as destination:
        destination.default = says(exits())
        yield destination


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    pool = Pool(DeliveryConfig())
    running = Running(pool, SystemClock(), rules=RULES, timeout_ms=20_000)
    yield running
    await running.stop()
    await pool.close()


async def run(
    running: Running,
    destination: FakeDestination,
    *scripts: Script,
    base: str = "",
    timeout_ms: int = 0,
) -> Call:
    """Run one call to its end, whose runs are answered with these."""
    destination.script(*scripts)
    (call,) = await running.dispatch(
        "f", endpoint=f"http://{destination.authority}{base}", timeout_ms=timeout_ms
    )
    await running.until(lambda: call.phase is Phase.ENDED)
    return call


@pytest.mark.parametrize("base", ["", "/apps/one"])
async def test_run_is_signed_and_says_what_the_protocol_wants(
    running: Running, destination: FakeDestination, base: str
) -> None:
    """An application that verifies it takes it; the path of its endpoint is covered."""
    call = await run(running, destination, base=base)
    (request,) = destination.requests
    line = request.head.split(b"\r\n")[0].decode()
    path = f"{base}/dispatch.sdk.v1.FunctionService/Run"
    assert line == f"POST {path} HTTP/1.1"
    headers = request.headers
    assert headers["host"] == destination.authority
    assert headers["content-type"] == "application/proto"
    assert headers["content-length"] == str(len(request.body))
    assert headers["connect-protocol-version"] == "1"
    assert headers["connect-timeout-ms"] == "20000"
    assert headers["user-agent"].startswith("dispatcher/")
    assert headers["x-dispatcher-message-id"] == call_id(1, call.key)
    assert headers["x-dispatcher-attempt"] == "1"
    assert "accept-encoding" not in headers
    Verifier([SIGNING_KEY.public_key()]).verify(
        method="POST",
        target=path,
        host=headers["host"],
        headers=headers.items(),
        body=bytes(request.body),
        now_s=call.created_us / 1e6,
    )
    assert RunRequest.FromString(bytes(request.body)).function == "f"


async def test_largest_answers_and_requests_pass(
    running: Running, destination: FakeDestination
) -> None:
    """A state of 15 MB comes, and goes back as it was."""
    state = bytes(range(250)) * 60_000
    call = await run(running, destination, says(polls(state=state, wait_s=0)), says(exits()))
    assert call.how is How.OK
    sent = RunRequest.FromString(bytes(destination.requests[1].body))
    assert sent.poll_result.typed_coroutine_state == an_any(state)


async def test_chunked_answer_is_read_whole(running: Running, destination: FakeDestination) -> None:
    """Some frameworks send no length."""
    body = exits(bytes(200_000)).SerializeToString()
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(one), one)
        for one in (body[begin : begin + 4096] for begin in range(0, len(body), 4096))
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nTransfer-Encoding: chunked\r\n"
    call = await run(
        running, destination, [Send(head + b"\r\n"), Wait(0.01), Send(chunks + b"0\r\n\r\n")]
    )
    assert running.result_of(call).output == an_any(bytes(200_000))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    "script",
    [
        [Reset()],
        [Close()],
        [Send(HEAD + b"half"), Reset()],
        [Send(HEAD + b"half"), Close()],
        [Send(b"no HTTP at all\r\n\r\n")],
        [Wait(600)],
        [Send(HEAD + b"slow"), Wait(600)],
        answer(503, b"deploying"),
        answer(429),
        answer(500, b"{}"),
        answer(408),
        says(exits(status=Status.TEMPORARY_ERROR)),
    ],
    ids=[
        "reset",
        "closed",
        "cut short by a reset",
        "cut short",
        "no HTTP",
        "silent",
        "slow",
        "503",
        "429",
        "500",
        "408",
        "temporary",
    ],
)
async def test_what_may_pass_is_asked_again(
    running: Running, destination: FakeDestination, script: Script
) -> None:
    """With the same body and the next number, signed anew."""
    is_slow = isinstance(script[-1], Wait)
    call = await run(running, destination, script, timeout_ms=2000 if is_slow else 0)
    assert call.how is How.OK
    first, second = destination.requests
    assert first.body == second.body
    assert second.headers["x-dispatcher-attempt"] == "2"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer(200, b"<html>", ("Content-Type", "text/html")), "InvalidResponse"),
        (answer(200, b"\xff\xff", PROTO), "InvalidResponse"),
        (answer(204, length=False), "InvalidResponse"),
        (answer(200, bytes(16_000_001), PROTO), "InvalidResponse"),
        (answer(404, b'{"code":"not_found","message":"who?"}'), "NotFound"),
        (answer(403), "PermissionDenied"),
        (answer(302, b"", ("Location", "http://127.0.0.1/")), "InvalidResponse"),
        (answer(501), "PermanentError"),
    ],
    ids=["content type", "garbage", "204", "too large", "404", "403", "302", "501"],
)
async def test_what_will_not_change_ends_the_call(
    running: Running, destination: FakeDestination, script: Script, kind: str
) -> None:
    """With an error of that type."""
    call = await run(running, destination, script)
    assert call.how is How.FAILED
    result: CallResult = running.result_of(call)
    assert result.error.type == kind
    assert len(destination.requests) == 1


async def test_retry_after_is_kept(running: Running, destination: FakeDestination) -> None:
    """By the call, and by all others of that application."""
    destination.script(answer(503, b"", ("Retry-After", "1")))
    endpoint = f"http://{destination.authority}"
    (one,) = await running.dispatch("f", endpoint=endpoint)
    await running.until(lambda: one.attempts)
    (other,) = await running.dispatch("g", endpoint=endpoint)
    await running.until(lambda: {one.phase, other.phase} == {Phase.ENDED})
    first, *others = destination.requests
    assert len(others) == 2
    assert all(request.arrived_s - first.arrived_s >= 1 for request in others)


async def test_application_that_does_not_listen_yet_is_asked_again(running: Running) -> None:
    """Applications dispatch before they listen."""
    destination = FakeDestination()
    await destination.start()
    await destination.stop()
    (call,) = await running.dispatch("f", endpoint=f"http://{destination.authority}")
    await running.until(lambda: call.attempts >= 2)
    destination.default = says(exits())
    await destination.start()
    await running.until(lambda: call.phase is Phase.ENDED)
    assert call.how is How.OK
    await destination.stop()
