"""Keys, and how large a body may be."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.receiver import Receiver
from tests.acceptance.running import metrics
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ORIGIN, Caller, ask, chunked, get, post, request

SETTINGS = {"MAX_BODY": "1000", "LISTEN_KEYS": "alpha, beta-2"}
KEY = "X-Dispatcher-Key: alpha"

# Keys


@pytest.mark.parametrize("key", ["alpha", "beta-2", " alpha\t"])
def test_any_of_the_keys_opens(server: ServerProcess, receiver: Receiver, key: str) -> None:
    """And it is not forwarded."""
    assert ask(server.listen, post(receiver.authority, f"x-dispatcher-key: {key}")).id
    assert b"alpha" not in receiver.received()[0].head


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["X-Dispatcher-Key:"],
        ["X-Dispatcher-Key: alph"],
        ["X-Dispatcher-Key: alphaa"],
        ["X-Dispatcher-Key: ALPHA"],
        ["X-Dispatcher-Key: alpha, beta-2"],
        ["X-Dispatcher-Key: \xe4"],
        ["Authorization: Bearer alpha"],
        ["X-Dispatcher-Key: alpha", "X-Dispatcher-Key: wrong"],
    ],
)
def test_without_a_right_key_it_is_401(
    server: ServerProcess, receiver: Receiver, headers: list[str]
) -> None:
    """The body is read over, and the connection goes on."""
    with Caller(server.listen) as caller:
        caller.send(post(receiver.authority, *headers, body=b"GET / HTTP/1.1\r\n\r\n"))
        answer = caller.answer()
        assert (answer.status, answer.slug) == (401, "key_invalid")
        assert answer.headers["www-authenticate"]  # RFC 9110 section 15.5.2
        caller.send(post(receiver.authority, KEY, path="/good"))
        assert caller.answer().id
    (one,) = receiver.received()
    assert one.head.startswith(b"POST /good ")


def test_wrong_key_is_401_before_the_head_is_whole(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Who has none does not get to send the rest; who has one may send its head in pieces."""
    head = post(receiver.authority, "X-Dispatcher-Key: wrong", "X-A: 1")
    with Caller(server.listen) as caller:
        caller.send(head[: head.index(b"X-A")])
        answer = caller.answer()
        assert (answer.status, answer.slug) == (401, "key_invalid")
        assert caller.at_end()
    head = post(receiver.authority, KEY, "X-A: 1")
    with Caller(server.listen) as caller:
        for at in range(0, len(head), 10):
            caller.send(head[at : at + 10])
            time.sleep(0.001)
        assert caller.answer().id


def test_key_is_asked_for_before_the_destination_is_judged(server: ServerProcess) -> None:
    """Strangers learn nothing about what else is wrong."""
    assert ask(server.listen, post("user@host")).status == 401
    assert ask(server.listen, post("user@host", KEY)).status == 400


def test_health_needs_no_key_and_a_missing_origin_header_is_405(server: ServerProcess) -> None:
    """A load balancer has no key; and without a destination there is no message."""
    assert get(server.listen, "/healthz").status == 200
    assert get(server.listen, "/readyz").status == 200
    assert get(server.listen, "/other").status == 405


# MAX_BODY


@pytest.mark.parametrize("size", [0, 999, 1000])
def test_body_up_to_the_limit_is_accepted(
    server: ServerProcess, receiver: Receiver, size: int
) -> None:
    """With a length or in chunks."""
    assert ask(server.listen, post(receiver.authority, KEY, body=b"x" * size)).id
    headers = ("Host: h", KEY, ORIGIN + receiver.authority, "Transfer-Encoding: chunked")
    body = chunked(b"x" * size) if size else chunked()
    assert ask(server.listen, request("POST / HTTP/1.1", *headers, body=body)).id
    assert [one.body_bytes for one in receiver.received(2)] == [size, size]


@pytest.mark.parametrize("size", [1001, 200_000, 5_000_000])
def test_body_above_the_limit_is_413(server: ServerProcess, receiver: Receiver, size: int) -> None:
    """With a length or in chunks; the caller sees the answer although it went on sending."""
    chunk = b"x" * 777
    headers = ("Host: h", KEY, ORIGIN + receiver.authority, "Transfer-Encoding: chunked")
    for data in (
        post(receiver.authority, KEY, body=b"x" * size),
        request("POST / HTTP/1.1", *headers, body=chunked(*[chunk] * (size // 777 + 1))),
    ):
        with Caller(server.listen) as caller:
            caller.send(data)
            answer = caller.answer()
            assert (answer.status, answer.slug) == (413, "body_too_large")
            assert "1000" in answer.json["message"]
    time.sleep(0.02)
    assert receiver.requests == []


def test_length_above_the_limit_is_413_before_the_body_comes(
    server: ServerProcess, receiver: Receiver
) -> None:
    """However large the number is."""
    for length in ("1001", str(1 << 62), "9" * 30, "9" * 400):
        headers = ("Host: h", KEY, ORIGIN + receiver.authority, f"Content-Length: {length}")
        assert ask(server.listen, request("POST / HTTP/1.1", *headers)).status == 413


def test_chunk_above_the_limit_is_413_before_it_comes(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Its size was announced."""
    headers = ("Host: h", KEY, ORIGIN + receiver.authority, "Transfer-Encoding: chunked")
    data = request("POST / HTTP/1.1", *headers, body=b"ffffffffff\r\nx")
    assert ask(server.listen, data).status == 413


def test_small_body_after_a_refused_one_is_read_on_the_same_connection(
    server: ServerProcess, receiver: Receiver
) -> None:
    """A refused body that is not large is read over."""
    with Caller(server.listen) as caller:
        caller.send(post(receiver.authority, KEY, body=b"x" * 1001))
        assert caller.answer().status == 413
        caller.send(post(receiver.authority, KEY, body=b"small"))
        assert caller.answer().id
    assert bytes(receiver.received()[0].body) == b"small"


def test_limits_are_counted(server: ServerProcess) -> None:
    """Each under its slug."""
    counted = metrics(server)
    assert counted['dispatcher_requests_refused_total{reason="body_too_large"}'] > 0
    assert counted['dispatcher_requests_refused_total{reason="key_invalid"}'] > 0
