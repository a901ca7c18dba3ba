"""The listener keeps standing under bad input, and is an HTTP/1.1 server otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import metrics, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ORIGIN, Caller, ask, chunked, post, request


@pytest.fixture(autouse=True)
def _still_stands(server: ServerProcess, receiver: Receiver) -> Iterator[None]:
    """After every test of this file, others are served as ever."""
    yield
    before = len(receiver.requests)
    assert ask(server.listen, post(receiver.authority, path="/still-there")).id
    eventually(lambda: any(b"/still-there" in one.head for one in receiver.requests[before:]))


def refused(server: ServerProcess, receiver: Receiver, data: bytes, status: int) -> str:
    """Send it, with another request behind it: it is refused, the connection is closed, and the
    other request is not read. Returns the slug."""
    with Caller(server.listen) as caller:
        caller.send(data + post(receiver.authority, path="/smuggled"))
        answer = caller.answer()
        assert answer.status == status, answer
        assert answer.headers["connection"].lower() == "close"
        assert caller.at_end()
    time.sleep(0.02)
    assert receiver.requests == []
    return answer.slug


# Request smuggling


@pytest.mark.parametrize(
    "headers",
    [
        [b"Content-Length: 1", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 1"],
        [b"Content-Length: 1", b"Transfer-Encoding: identity"],
        [b"Content-Length: 1", b"Content-Length: 2"],
        [b"Content-Length: 1", b"Content-Length: 1"],
        [b"Content-Length: 1", b"content-length: 1"],
        [b"Content-Length: 1, 1"],
        [b"Content-Length: 1,2"],
        [b"Content-Length:"],
        [b"Content-Length: -1"],
        [b"Content-Length: +1"],
        [b"Content-Length: 0x1"],
        [b"Content-Length: 1 1"],
        [b"Content-Length: 1_0"],
        [b"Content-Length: 1.0"],
        [b"Content-Length: one"],
        [b"Content-Length: \xb2"],
        [b"Content-Length : 1"],
        [b"Content-Length\t: 1"],
        [b"Transfer-Encoding : chunked"],
        [b"X-Space : 1"],
        [b" X-Lead: 1"],
        [b": no name"],
        [b"no colon"],
        [b"X(bad): 1"],
        [b"X-\xe4: 1"],
        [b"X-Nul: a\0b"],
        [b"X\0: 1"],
        [b"X-Cr: a\rb"],
        [b"X-Cr: a\r"],
        [b"X-Cr: a\r\rContent-Length: 5"],
        [b"X-Lf: a\nb: c"],
        [b"X-Lf: a\n"],
        [b"X-Fold: a", b" b"],
        [b"X-Fold: a", b"\tContent-Length: 7"],
        [b"Host: second"],
        [b"host: h"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding: chunked chunked"],
        [b"Transfer-Encoding: \x0bchunked"],
    ],
)
def test_smuggling_shape_is_400_and_the_connection_closed(
    server: ServerProcess, receiver: Receiver, headers: list[bytes]
) -> None:
    """Nothing of it is forwarded, nor what stands behind it."""
    origin = ORIGIN + receiver.authority
    refused(server, receiver, request("POST / HTTP/1.1", "Host: h", origin, *headers), 400)


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\nHost: h\n%b\nContent-Length: 0\n\n",
        b"POST / HTTP/1.1\r\nHost: h\n%b\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\n%b\r\nContent-Length: 0\n\r\n",
        b"POST / HTTP/1.1\rHost: h\r%b\r\r\n\r\n",
        b"POST / HTTP/1.1\r\n%b\r\n\r\n",
        b"POST / HTTP/1.1\r\n %b\r\nHost: h\r\n\r\n",
        b"POST  / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n",
        b"POST / HTTP/1.1 \r\nHost: h\r\n%b\r\n\r\n",
        b" POST / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n",
        b"POST\t/\tHTTP/1.1\r\nHost: h\r\n%b\r\n\r\n",
        b"PO(ST / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n",
        b"POST /\r\nHost: h\r\n%b\r\n\r\n",
        b"POST / http/1.1\r\nHost: h\r\n%b\r\n\r\n",
        b"POST / HTTP/11\r\nHost: h\r\n%b\r\n\r\n",
        b"POST / HTTP/1.1.1\r\nHost: h\r\n%b\r\n\r\n",
        b"POST / HTTP/1.x\r\nHost: h\r\n%b\r\n\r\n",
        b"POST / \r\nHost: h\r\n%b\r\n\r\n",
        b"\0\0\0\0\r\n\r\n%b",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n%b",
        b"POST / HTTP/1.1\r\nHost: a b\r\n%b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a/b\r\n%b\r\n\r\n",
    ],
)
def test_head_that_is_not_http_is_400_and_the_connection_closed(
    server: ServerProcess, receiver: Receiver, head: bytes
) -> None:
    """Bare LF line ends, a missing `Host`, a TLS handshake, and other shapes."""
    origin = (ORIGIN + receiver.authority).encode()
    refused(server, receiver, head % origin, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: 1\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
    ],
)
def test_bad_chunk_is_400_and_the_connection_closed(
    server: ServerProcess, receiver: Receiver, body: bytes
) -> None:
    """Nobody guesses where the body ends."""
    headers = ("Host: h", ORIGIN + receiver.authority, "Transfer-Encoding: chunked")
    slug = refused(server, receiver, request("POST / HTTP/1.1", *headers, body=body), 400)
    assert slug == "chunk_invalid"


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "identity", "x-other", "deflate"])
def test_other_transfer_coding_is_501(
    server: ServerProcess, receiver: Receiver, coding: str
) -> None:
    """Only `chunked` is understood."""
    headers = ("Host: h", ORIGIN + receiver.authority, f"Transfer-Encoding: {coding}")
    data = request("POST / HTTP/1.1", *headers, body=chunked(b"x"))
    refused(server, receiver, data, 501)


# Sizes of heads


def _with_head_of(size: int, receiver: Receiver) -> bytes:
    data = post(receiver.authority, "X-Long: ")
    return data.replace(b"X-Long: ", b"X-Long: " + b"l" * (size - len(data)))


def test_head_of_64_kib_is_forwarded(server: ServerProcess, receiver: Receiver) -> None:
    """As it is, in one piece or in several."""
    data = _with_head_of(65_536, receiver)
    assert ask(server.listen, data).id
    with Caller(server.listen) as caller:
        for at in range(0, len(data), 10_000):
            caller.send(data[at : at + 10_000])
            time.sleep(0.002)
        assert caller.answer().id
    for one in receiver.received(2):
        assert len(one.headers["x-long"]) > 65_000


@pytest.mark.parametrize("size", [65_537, 70_000, 1_000_000])
def test_head_above_64_kib_is_431(server: ServerProcess, receiver: Receiver, size: int) -> None:
    """In one long header or in many, and whether its end comes or not."""
    assert refused(server, receiver, _with_head_of(size, receiver), 431) == "head_too_large"
    many = [f"X-{number}: {'v' * 90}" for number in range(size // 90)]
    assert refused(server, receiver, post(receiver.authority, *many), 431) == "head_too_large"
    with Caller(server.listen) as caller:
        caller.send(b"GET /" + b"a" * size)
        assert caller.answer().status == 431
        assert caller.at_end()


# Conversation


def test_pipelined_requests_are_answered_in_order(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Messages, refusals, health, with lengths and chunks, all sent at once."""
    origin = ORIGIN + receiver.authority
    message = post(receiver.authority, body=b"body")
    in_chunks = request(
        "POST / HTTP/1.1",
        "Host: h",
        origin,
        "Transfer-Encoding: chunked",
        body=chunked(b"a" * 300_000, b"b"),
    )
    nowhere = request("POST / HTTP/1.1", "Host: h", "Content-Length: 3", body=b"GET")
    bad_timeout = post(receiver.authority, "X-Dispatcher-Timeout: 0", body=b"POST / HTTP/1.1\r\n")
    health = request("GET /healthz HTTP/1.1", "Host: h")
    kinds = [(message, 202), (nowhere, 405), (in_chunks, 202), (bad_timeout, 400), (health, 200)]
    with Caller(server.listen) as caller:
        caller.send(b"".join(data for data, _ in kinds) * 4)
        assert [caller.answer().status for _ in range(20)] == [status for _, status in kinds] * 4
        caller.send(message)
        assert caller.answer().id
    assert len(receiver.received(9)) == 9


def test_requests_may_come_byte_by_byte(server: ServerProcess, receiver: Receiver) -> None:
    """Wherever the network cuts them."""
    origin = ORIGIN + receiver.authority
    headers = ("Host: h", origin, "Transfer-Encoding: chunked")
    data = post(receiver.authority, body=b"1") + request(
        "POST / HTTP/1.1", *headers, body=chunked(b"22", b"3", trailers=b"T: 1\r\n")
    )
    with Caller(server.listen) as caller:
        for byte in data:
            caller.send(bytes([byte]))
        assert caller.answer().id
        assert caller.answer().id
    assert {bytes(one.body) for one in receiver.received(2)} == {b"1", b"223"}


def test_connection_is_kept_until_the_caller_wants_it_closed(
    server: ServerProcess, receiver: Receiver
) -> None:
    """`Connection: close` is answered and done; what comes behind it is not read."""
    with Caller(server.listen) as caller:
        caller.send(post(receiver.authority))
        assert "connection" not in caller.answer().headers
        last = post(receiver.authority, "Connection: Close", path="/last")
        caller.send(last + post(receiver.authority, path="/behind"))
        answer = caller.answer()
        assert answer.id
        assert answer.headers["connection"] == "close"
        assert caller.at_end()
    receiver.received(2)
    assert not any(b"/behind" in one.head for one in receiver.requests)


@pytest.mark.parametrize("line", ["POST / HTTP/1.0", "POST / HTTP/1.1"])
def test_last_202_is_not_taken_away_by_what_the_caller_still_sends(
    server: ServerProcess, receiver: Receiver, line: str
) -> None:
    """Old clients send a line end behind a body. A reset for it would overtake the answer, and the
    caller would send its message again."""
    headers = ("Host: x", "Connection: close", ORIGIN + receiver.authority, "Content-Length: 1")
    for _ in range(50):
        with Caller(server.listen) as caller:
            caller.send(request(line, *headers, body=b"x"))
            for _ in range(3):
                time.sleep(0.0005)
                caller.send(b"\r\n")
            assert caller.answer().id
            assert caller.at_end()


@pytest.mark.parametrize("size", [0, 5, 400_000])
def test_caller_that_closes_its_sending_side_is_answered(
    server: ServerProcess, receiver: Receiver, size: int
) -> None:
    """After a whole request, several too."""
    with Caller(server.listen) as caller:
        caller.send(post(receiver.authority, body=b"x" * size) * 2)
        caller.finish()
        assert caller.answer().id
        assert caller.answer().id
        assert caller.at_end()
    receiver.received(2)


@pytest.mark.parametrize("part", [10, -300_000, -1])
def test_half_a_request_is_nothing(server: ServerProcess, receiver: Receiver, part: int) -> None:
    """A caller that goes away within a head or a body has sent no message."""
    data = post(receiver.authority, body=b"x" * 600_000)
    for leave in (Caller.finish, Caller.reset):
        with Caller(server.listen) as caller:
            caller.send(data[:part])
            time.sleep(0.02)
            leave(caller)
    time.sleep(0.05)
    assert receiver.requests == []


def test_whole_requests_of_a_caller_that_went_away_are_delivered(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Who does not wait for the answer cannot know; here they arrive."""
    accepted = "dispatcher_messages_accepted_total"
    before = metrics(server)[accepted]
    with Caller(server.listen) as caller:
        caller.send(post(receiver.authority) * 3)
        # What the server has not read yet would be lost with a reset.
        eventually(lambda: metrics(server)[accepted] == before + 3)
        caller.reset()
    receiver.received(3)


def test_empty_lines_before_a_request_are_skipped(
    server: ServerProcess, receiver: Receiver
) -> None:
    """As old clients send them after a body (RFC 9112 section 2.2)."""
    with Caller(server.listen) as caller:
        for _ in range(3):
            caller.send(post(receiver.authority, body=b"x") + b"\r\n")
            assert caller.answer().id


# Expect


def _expecting(receiver: Receiver, *headers: str, size: int) -> bytes:
    return request(
        "PUT / HTTP/1.1",
        "Host: h",
        *headers,
        "Expect: 100-Continue",
        f"Content-Length: {size}",
    )


@pytest.mark.parametrize("size", [3, 400_000])
def test_expect_is_answered_with_100(server: ServerProcess, receiver: Receiver, size: int) -> None:
    """Before the body is sent; the destination sees nothing of it."""
    with Caller(server.listen) as caller:
        caller.send(_expecting(receiver, ORIGIN + receiver.authority, size=size))
        assert caller.answer().status == 100
        caller.send(b"x" * size)
        assert caller.answer().id
    (one,) = receiver.received()
    assert one.body_bytes == size
    assert "expect" not in one.headers


def test_expect_with_chunks_is_answered_with_100(server: ServerProcess, receiver: Receiver) -> None:
    """There too."""
    headers = ("Host: h", ORIGIN + receiver.authority, "Transfer-Encoding: chunked")
    with Caller(server.listen) as caller:
        caller.send(request("PUT / HTTP/1.1", *headers, "Expect: 100-continue"))
        assert caller.answer().status == 100
        caller.send(chunked(b"abc"))
        assert caller.answer().id


def test_expect_of_a_refused_request_is_answered_with_the_refusal(
    server: ServerProcess, receiver: Receiver
) -> None:
    """The body is not asked for. What then comes on the connection is no request."""
    for headers, status in (
        ([], 405),
        ([ORIGIN + "user@host"], 400),
        ([ORIGIN + receiver.authority, "X-Dispatcher-Timeout: x"], 400),
    ):
        with Caller(server.listen) as caller:
            caller.send(_expecting(receiver, *headers, size=5))
            assert caller.answer().status == status
            assert caller.at_end()
    with Caller(server.listen) as caller:
        caller.send(_expecting(receiver, ORIGIN + receiver.authority, size=1 << 40))
        assert caller.answer().status == 413
        assert caller.at_end()


def test_expect_without_a_body_needs_no_100(server: ServerProcess, receiver: Receiver) -> None:
    """Nor does one whose body is there already."""
    origin = ORIGIN + receiver.authority
    for body in (b"", b"x"):
        with Caller(server.listen) as caller:
            caller.send(_expecting(receiver, origin, size=len(body)) + body)
            assert caller.answer().status in {100, 202}


# Refusals in general


def test_refusals_are_counted_by_reason(server: ServerProcess, receiver: Receiver) -> None:
    """Under the slug that the caller saw."""
    before = metrics(server)
    slug = ask(server.listen, post("")).slug
    name = f'dispatcher_requests_refused_total{{reason="{slug}"}}'
    assert metrics(server)[name] == before.get(name, 0) + 1


def test_refused_request_is_never_delivered(server: ServerProcess, receiver: Receiver) -> None:
    """Whatever it was refused for."""
    for headers in (["X-Dispatcher-Timeout: 0"], [ORIGIN + receiver.authority]):
        assert ask(server.listen, post(receiver.authority, *headers)).status == 400
    time.sleep(0.05)
    assert receiver.requests == []


# Idle connections


def test_idle_connection_is_kept_as_long_as_the_setting_says(
    tmp_path: Path, receiver: Receiver
) -> None:
    """So that it can be longer than that of the load balancer in front; then it is closed without
    an answer."""
    settings = quick(IDLE_TIMEOUT="1s")
    with ServerProcess(tmp_path, **settings) as quickly, Caller(quickly.listen) as caller:
        began = time.monotonic()
        caller.send(post(receiver.authority))
        assert caller.answer().id
        assert caller.at_end()
        assert time.monotonic() - began >= 1
