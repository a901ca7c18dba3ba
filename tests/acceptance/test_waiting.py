"""Callers that wait for what becomes of their message (`X-Dispatcher-Wait`)."""

from __future__ import annotations

import json
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from dispatcher.testing.destination import Close, Reset, Script, Send, Wait, answer
from tests.acceptance.receiver import Gate, Receiver, Receivers, eventually
from tests.acceptance.running import accept, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Answer, Caller, ask, chunked, get, post, request

SETTINGS = quick(RETRYLIMIT="0")
MINUTE = "X-Dispatcher-Wait: 1m"
MIB = 1024 * 1024


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    """Made here, and started by the test."""
    return ServerProcess(tmp_path, **SETTINGS)


def outcome_of(answered: Answer) -> tuple[int, str | None]:
    """Status, and what became of the message; there is always an id."""
    assert answered.headers["x-dispatcher-message-id"], answered
    return answered.status, answered.headers.get("x-dispatcher-outcome")


def test_caller_gets_the_answer_of_the_destination(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Status, headers and body as they came; the message is done, and the header not forwarded."""
    receiver.script(
        answer(201, b"made", ("X-Made", "7"), ("Connection", "X-Hop"), ("X-Hop", "1")),
    )
    with server, Caller(server.listen) as caller:
        caller.send(post(receiver.authority, MINUTE, body=b"{}"))
        answered = caller.answer()
        assert outcome_of(answered) == (201, "delivered")
        assert answered.body == b"made"
        assert answered.headers["x-made"] == "7"
        assert "x-hop" not in answered.headers
        (one,) = receiver.received(1)
        assert one.headers["x-dispatcher-message-id"] == answered.headers["x-dispatcher-message-id"]
        assert "x-dispatcher-wait" not in one.headers
        caller.send(post(receiver.authority))
        assert caller.answer().status == 202


@pytest.mark.parametrize(
    ("script", "expected", "body"),
    [
        (answer(404, b"no"), (404, "dead"), b"no"),
        (answer(503, b"busy"), (503, "dead"), b"busy"),
        (answer(302, b"", ("Location", "http://elsewhere")), (302, "dead"), b""),
        (answer(204), (204, "delivered"), b""),
        (answer(200, b"x" * MIB), (200, "delivered"), b"x" * MIB),
        (answer(200, b"x" * (MIB + 1)), (202, "delivered"), b""),
        (
            [
                Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                Wait(0.05),
                Send(b"3\r\nabc\r\n"),
                Wait(0.05),
                Send(b"2\r\nde\r\n0\r\n\r\n"),
            ],
            (200, "delivered"),
            b"abcde",
        ),
        (
            [Send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"), Close()],
            (200, "delivered"),
            b"until the end",
        ),
    ],
    ids=["404", "503", "302", "204", "largest", "too large", "chunked", "until the end"],
)
def test_each_answer_is_passed_on(
    server: ServerProcess,
    receiver: Receiver,
    script: Script,
    expected: tuple[int, str],
    body: bytes,
) -> None:
    """With what became of the message; a body above 1 MiB is not: 202 with the outcome."""
    receiver.script(script)
    with server:
        answered = ask(server.listen, post(receiver.authority, MINUTE))
        assert outcome_of(answered) == expected
        assert answered.body == body


@pytest.mark.parametrize(
    ("script", "slug"),
    [
        ([Reset()], "connection_failed"),
        ([Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), Close()], "broken_response"),
        ([Wait(600)], "timeout"),
    ],
    ids=["reset", "broken off", "hanging"],
)
def test_message_that_is_given_up_without_a_response_is_502(
    server: ServerProcess, receiver: Receiver, script: Script, slug: str
) -> None:
    """With the slug of the error, as JSON."""
    receiver.script(script)
    with server:
        answered = ask(
            server.listen, post(receiver.authority, MINUTE, "X-Dispatcher-Timeout: 500ms")
        )
        assert outcome_of(answered) == (502, "dead")
        assert answered.slug == slug


def test_message_that_expires_is_502(server: ServerProcess, receiver: Receiver) -> None:
    """It had no response either."""
    with server:
        hold(server, receiver)
        answered = ask(
            server.listen, post(receiver.authority, MINUTE, "X-Dispatcher-Deadline: 300ms")
        )
        assert (answered.status, answered.slug) == (502, "expired")


def test_what_is_not_decided_is_202_as_always(tmp_path: Path, receiver: Receiver) -> None:
    """When there will be a retry, at once; a slow destination, and a message that is not due, after
    the time that was given."""
    with ServerProcess(tmp_path, **quick(RETRYLIMIT="3", RETRY_DELAY="60s")) as server:
        receiver.script(answer(503), [Wait(600)])
        for headers in (
            [MINUTE],
            ["X-Dispatcher-Wait: 300ms"],
            ["X-Dispatcher-Wait: 300ms", "X-Dispatcher-Delay: 1h"],
        ):
            answered = ask(server.listen, post(receiver.authority, *headers))
            assert outcome_of(answered) == (202, None)
            assert answered.body == b""
        number = answered.id
        assert get(server.api, f"/v1/messages/{number}").json["state"] == "scheduled"


def test_caller_that_asks_for_json_gets_it_only_with_a_202(
    server: ServerProcess, receiver: Receiver
) -> None:
    """What the destination says is not changed."""
    with server:
        asking = [MINUTE, "Accept: application/json"]
        receiver.script(answer(200, b"plain"), answer(200, b"x" * (MIB + 1)))
        assert ask(server.listen, post(receiver.authority, *asking)).body == b"plain"
        large = ask(server.listen, post(receiver.authority, *asking))
        assert outcome_of(large) == (202, "delivered")
        assert json.loads(large.body) == {"id": large.id}


def test_head_and_old_callers_wait_too(server: ServerProcess, receiver: Receiver) -> None:
    """HEAD gets the length and no body; with HTTP/1.0 the connection ends."""
    receiver.script([Send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")], answer(200, b"12345"))
    with server:
        head = ask(server.listen, post(receiver.authority, MINUTE, method="HEAD"), to_head=True)
        assert outcome_of(head) == (200, "delivered")
        assert head.headers["content-length"] == "5"
        old = request(
            "POST / HTTP/1.0",
            f"X-Dispatcher-Origin-Host: {receiver.authority}",
            MINUTE,
            "Content-Length: 0",
        )
        answered = ask(server.listen, old)
        assert (answered.body, answered.headers["connection"]) == (b"12345", "close")


def test_large_and_chunked_requests_wait_too(server: ServerProcess, receiver: Receiver) -> None:
    """However their bodies come."""
    body = b"z" * 700_000
    with server:
        assert outcome_of(ask(server.listen, post(receiver.authority, MINUTE, body=body))) == (
            200,
            "delivered",
        )
        head = request(
            "POST / HTTP/1.1",
            "Host: d",
            f"X-Dispatcher-Origin-Host: {receiver.authority}",
            MINUTE,
            "Transfer-Encoding: chunked",
        )
        assert outcome_of(ask(server.listen, head + chunked(body[:300_000], b"y"))) == (
            200,
            "delivered",
        )
        assert [one.body_bytes for one in receiver.received(2)] == [700_000, 300_001]


def test_pipelined_requests_are_answered_in_order(
    server: ServerProcess, receiver: Receiver, receivers: Receivers
) -> None:
    """The 202 of one before the answer that is waited for, and what follows after it."""
    gate = Gate()
    receiver.fake.default = gate
    with server, receivers.open() as other, Caller(server.listen) as caller:
        caller.send(
            post(other.authority, path="/1")
            + post(receiver.authority, MINUTE, path="/2")
            + post(other.authority, path="/3")
            + post("", path="/4")
        )
        first = caller.answer()
        assert outcome_of(first) == (202, None)
        wait_for(gate, answer(201, b"two"))
        assert outcome_of(caller.answer()) == (201, "delivered")
        assert caller.answer().status == 202
        assert caller.answer().status == 400


def test_caller_that_hangs_up_changes_nothing(server: ServerProcess, receiver: Receiver) -> None:
    """The message is delivered, and others are served."""
    gate = Gate()
    receiver.fake.default = gate
    with server:
        for is_reset in (False, True):
            with Caller(server.listen) as caller:
                caller.send(post(receiver.authority, MINUTE))
                eventually(lambda: gate.held)
                if is_reset:
                    caller.reset()
            wait_for(gate, answer(200, b"x" * 500_000))
        eventually(lambda: get(server.api, "/v1/stats").json["delivered_total"] == 2)
        receiver.fake.default = answer(200)
        assert ask(server.listen, post(receiver.authority, MINUTE)).status == 200


def test_many_wait_at_once(server: ServerProcess, receiver: Receiver) -> None:
    """Each gets what its own message came to."""
    gate = Gate()
    receiver.fake.default = answer(200, b"warm")
    with server:
        for _ in range(30):
            accept(server, receiver)
        receiver.received(30)
        receiver.fake.default = gate
        with ExitStack() as stack:
            callers = [stack.enter_context(Caller(server.listen)) for _ in range(60)]
            for number, caller in enumerate(callers):
                caller.send(post(receiver.authority, MINUTE, path=f"/{number}"))
            eventually(lambda: gate.held)
            receiver.fake.default = answer(200, b"x" * 200_000)
            gate.let_through(answer(200, b"x" * 200_000))
            answers = [caller.answer() for caller in callers]
        assert {outcome_of(one)[1] for one in answers} == {"delivered"}
        assert len({one.headers["x-dispatcher-message-id"] for one in answers}) == 60


def test_stop_answers_those_who_wait(server: ServerProcess, receiver: Receiver) -> None:
    """At once with 202, and it does not wait for their time; the message is delivered after the
    next start."""
    with server, Caller(server.listen) as caller:
        hold(server, receiver)
        caller.send(post(receiver.authority, MINUTE))
        eventually(lambda: get(server.api, "/v1/stats").json["ready"] == 1)
        before_s = time.monotonic()
        server.signal(signal.SIGTERM)
        answered = caller.answer()
        assert outcome_of(answered) == (202, None)
        assert answered.headers["connection"] == "close"
        server.wait()
        assert time.monotonic() - before_s < 55


def test_message_is_durable_before_it_is_attempted(
    server: ServerProcess, tmp_path: Path, receiver: Receiver
) -> None:
    """Killed while the caller waits: it gets no answer, and the message is delivered."""
    gate = Gate()
    receiver.fake.default = gate
    with server, Caller(server.listen) as caller:
        caller.send(post(receiver.authority, MINUTE, body=b"kept"))
        eventually(lambda: gate.held)
        server.kill()
        with pytest.raises(ConnectionError):
            caller.answer()
    with ServerProcess(tmp_path, **SETTINGS):
        eventually(lambda: gate.gone and gate.held)
        gate.let_through(answer(200))
        first, second = receiver.received(2)
        assert bytes(first.body) == bytes(second.body) == b"kept"
        name = "x-dispatcher-message-id"
        assert first.headers[name] == second.headers[name]


@pytest.mark.parametrize("value", ["61s", "0", "1.5s", ""])
def test_bad_value_is_400(server: ServerProcess, receiver: Receiver, value: str) -> None:
    """A minute is the most."""
    with server:
        refused = ask(server.listen, post(receiver.authority, f"X-Dispatcher-Wait: {value}"))
        assert (refused.status, refused.slug) == (400, "wait_invalid")


def wait_for(gate: Gate, script: Script) -> None:
    """Let everything through that comes, until something has."""
    eventually(lambda: gate.held)
    gate.let_through(script)


def hold(server: ServerProcess, receiver: Receiver) -> None:
    """Let nothing be sent to a destination."""
    held = request(
        f"POST /v1/destinations/{receiver.authority}/pause HTTP/1.1",
        f"Host: {server.api[0]}:{server.api[1]}",
    )
    assert ask(server.api, held).status == 200
