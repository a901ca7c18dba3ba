"""Heads that repeat are compared instead of read; what comes out is the same."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dispatcher.errors import Refusal
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.forward import forward
from dispatcher.ingress.head import Kinds, read_head
from dispatcher.ingress.pattern import MAX_BYTES, MAX_MISSES, Pattern, pattern_of
from dispatcher.ingress.shared import Shared
from dispatcher.testing.ingress import MemoryAcceptor, MemoryTransport

BUSY = Refusal(503, "backlog_full", "Later.", retry_after_s=3)


@dataclass(frozen=True, slots=True)
class Ready:
    status: int = 200
    body: bytes = b"{}"


class Caller:
    """A connection, and what is behind it."""

    def __init__(self, *, max_body: int = 1000) -> None:
        self.queue = MemoryAcceptor(at_once=False)
        shared = Shared(self.queue, IngressConfig("", 0, max_body=max_body), Ready, lambda: 0.0)
        self.transport = MemoryTransport()
        self.connection = Connection(shared)
        self.connection.connection_made(self.transport)

    @property
    def heads_read(self) -> int:
        """Heads that were read and not compared, since the last one that was compared."""
        return self.connection.exchange.heads.misses

    def send(self, *requests: bytes) -> None:
        for one in requests:
            self.connection.data_received(one)
            self.queue.settle()


def request(body: bytes, *lines: bytes, path: bytes = b"/x", length: bytes | None = None) -> bytes:
    size = b"%d" % len(body) if length is None else length
    head = (b"POST %b HTTP/1.1" % path, b"Host: a", b"X-Dispatcher-Origin-Host: b")
    return b"\r\n".join((*head, b"Content-Length: " + size, *lines)) + b"\r\n\r\n" + body


def pattern(raw: bytes) -> Pattern | None:
    """The pattern of a request without its body."""
    head = read_head(raw.removesuffix(b"\r\n\r\n"), Kinds())
    return pattern_of(raw.removesuffix(b"\r\n\r\n"), head, forward(head, IngressConfig("", 0)))


def test_a_head_that_differs_in_its_length_only_is_not_read_again() -> None:
    """Each body and each length arrives as it was sent."""
    caller = Caller()
    bodies = [b"one", b"", b"a longer body", b"x" * 1000]
    caller.send(*(request(body, b"X-Id: 1") for body in bodies))
    assert caller.heads_read == 0
    assert caller.queue.bodies == bodies
    assert [one.head for one in caller.queue.messages] == [
        b"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\nX-Id: 1\r\n" % len(body)
        for body in bodies
    ]


def test_pipelined_requests_and_requests_without_a_length_are_compared_too() -> None:
    """A GET has no digits to cut out: the whole head is the pattern."""
    caller = Caller()
    get = b"GET /x HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b\r\n\r\n"
    for pipelined in (get * 3, request(b"1") + request(b"22") + request(b"333")):
        caller.send(pipelined)
        assert caller.heads_read == 0
    assert caller.queue.bodies == [b"", b"", b"", b"1", b"22", b"333"]
    assert caller.queue.messages[2].head == b"GET /x HTTP/1.1\r\nHost: b\r\n"


@pytest.mark.parametrize(
    "other",
    [
        request(b"22", path=b"/y"),
        request(b"22", b"X-Id: 2"),
        request(b"22", length=b"02"),
        request(b"22", length=b"2 "),
    ],
)
def test_a_head_that_differs_elsewhere_is_read(other: bytes) -> None:
    """One byte is enough."""
    caller = Caller()
    caller.send(request(b"1"), other)
    assert caller.heads_read == 2
    assert caller.queue.bodies == [b"1", b"22"]


@pytest.mark.parametrize("length", [b"", b"-1", b"+1", b"1,1", b"1_0", b"\xb2", b"9" * 40])
def test_a_length_that_is_none_is_refused_after_a_good_one(length: bytes) -> None:
    """The pattern takes digits only; everything else is for the reader of heads to refuse."""
    caller = Caller()
    caller.send(request(b"1"), request(b"1", length=length))
    assert caller.queue.bodies == [b"1"]
    assert bytes(caller.transport.written).count(b"HTTP/1.1 4") == 1


def test_what_is_refused_is_refused_after_a_pattern_too() -> None:
    """A body that is too large, and a queue that takes nothing now."""
    caller = Caller(max_body=5)
    caller.send(request(b"12345"), request(b"123456"))
    assert b"HTTP/1.1 413 " in caller.transport.written
    caller.queue.refusing = BUSY
    caller.transport.written.clear()
    caller.send(request(b"12345"))
    assert b"HTTP/1.1 503 " in caller.transport.written
    caller.queue.refusing = None
    caller.send(request(b"12345"))
    assert caller.queue.bodies == [b"12345", b"12345"]


def test_a_body_that_is_not_whole_yet_is_waited_for() -> None:
    """Its head is compared all the same: many clients send head and body one after the other."""
    caller = Caller()
    second = request(b"22")
    caller.send(request(b"1"), second[:-1])
    assert caller.queue.bodies == [b"1"]
    assert caller.heads_read == 0
    caller.send(second[-1:], request(b"333"))
    assert caller.queue.bodies == [b"1", b"22", b"333"]


def test_a_head_that_is_cut_anywhere_is_read_as_if_it_were_whole() -> None:
    """In the middle of its length, and right before it."""
    for cut in range(1, len(request(b"22"))):
        caller = Caller()
        second = request(b"22")
        caller.send(request(b"1"), second[:cut], second[cut:])
        assert caller.queue.bodies == [b"1", b"22"]


def test_requests_in_between_that_have_no_pattern_leave_the_last_one() -> None:
    """A chunked upload now and then does not make a caller's other requests be read anew."""
    caller = Caller()
    chunked = (
        b"POST /u HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    )
    for _ in range(2 * MAX_MISSES):
        caller.send(request(b"1"), chunked, request(b"22"))
        assert caller.heads_read == 0
    assert caller.queue.bodies == [b"1", b"x", b"22"] * 2 * MAX_MISSES


def test_heads_that_never_repeat_are_given_up_on() -> None:
    """A caller that puts an id into each request does not pay for patterns for ever."""
    caller = Caller()
    for number in range(50):
        caller.send(request(b"1", b"X-Id: %d" % number))
        assert (caller.connection.exchange.heads.pattern is not None) is (number < MAX_MISSES)
    assert caller.heads_read == MAX_MISSES
    assert len(caller.queue.bodies) == 50


def test_unusual_heads_have_no_pattern() -> None:
    """Chunked bodies, expectations, long heads, and lengths that are sent in another spelling."""
    to = b"Host: a\r\nX-Dispatcher-Origin-Host: b\r\n"
    assert pattern(b"POST / HTTP/1.1\r\n" + to + b"\r\n") is not None
    for lines in (
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 1\r\nExpect: 100-continue\r\n",
        b"Content-Length: 01\r\n",
        b"Content-Length: 1 \r\n",
        b"X-Long: %b\r\n" % (b"x" * MAX_BYTES),
    ):
        assert pattern(b"POST / HTTP/1.1\r\n" + to + lines + b"\r\n") is None


def test_only_the_line_of_the_length_is_cut() -> None:
    """Neither a header that ends like it nor the target is taken for it."""
    made = pattern(
        b"POST /Content-Length:7 HTTP/1.1\r\nX-Content-Length: 7\r\ncontent-LENGTH:7\r\n"
        b"Content-Length-X: 7\r\nHost: a\r\nX-Dispatcher-Origin-Host: b\r\n\r\n"
    )
    assert made is not None
    assert made.before.endswith(b"\r\ncontent-LENGTH:")
    assert made.sent_before.endswith(b"\r\nX-Content-Length: 7\r\ncontent-LENGTH:")
    assert made.sent_after == b"\r\nContent-Length-X: 7\r\nHost: b\r\n"


def test_a_head_that_ends_before_its_length_is_not_whole() -> None:
    """Wherever it is cut. Compiled, a slice that ends before its start is an error, not nothing."""
    head = (
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b\r\nContent-Length: 12\r\n\r\n"
    )
    made = pattern(head)
    assert made is not None
    for other in (head, head.replace(b"12", b"345")):
        for cut in range(len(other)):
            assert not made.is_like(other[:cut], 0)
            assert not made.is_like(b"before" + other[:cut], 6)
        assert made.is_like(b"before" + other, 6)
        assert (made.whole, made.length) == (other, 12 if other == head else 345)
