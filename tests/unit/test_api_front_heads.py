"""Heads as a front passes them on, and what is no head."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.api.front.heads import Broken, answer_head, chunk_size, request_head

NAMES = st.text("AZaz09-", min_size=1, max_size=12).map(str.encode)
VALUES = st.binary(max_size=20).map(
    lambda data: bytes(byte for byte in data if byte > 31 and byte != 127).strip(b" \t")
)
FIXED = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding",
         b"upgrade", b"content-length"}  # fmt: skip


@given(headers=st.lists(st.tuples(NAMES, VALUES), max_size=8), size=st.integers(0, 1 << 40))
def test_headers_of_an_answer_keep_order_spelling_and_bytes(
    headers: list[tuple[bytes, bytes]], size: int
) -> None:
    """As many as there are, also where a name comes twice."""
    headers = [one for one in headers if one[0].lower() not in FIXED]
    lines = [b"%b: %b" % one for one in headers]
    head = b"\r\n".join([b"HTTP/1.1 200 All Right", *lines, b"content-length: %d" % size, b"", b""])
    found = answer_head(head, "GET")
    assert (found.status, found.reason, found.size_bytes) == (200, "All Right", size)
    *others, last = [
        (name.encode(errors="surrogateescape"), value.encode(errors="surrogateescape"))
        for name, value in found.headers
    ]
    assert others == headers
    assert last == (b"content-length", b"%d" % size)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_told_apart(head: bytes) -> None:
    """Also one that does not say how long its body is: where it ended nobody would know."""
    with pytest.raises(Broken):
        answer_head(head, "GET")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_answer_without_a_body_need_not_say_how_long_that_is(method: str, status: int) -> None:
    """HEAD, 204 and 304 have none, whatever length they name."""
    head = b"HTTP/1.1 %d X\r\n%b\r\n"
    assert answer_head(head % (status, b""), method).size_bytes == 0
    assert answer_head(head % (status, b"Content-Length: 7\r\n"), method).size_bytes == 0


def test_end_of_the_connection_is_read_and_not_passed_on() -> None:
    """It is about the connection to the API."""
    head = answer_head(b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", "GET")
    assert head.closes
    assert head.headers == [("Content-Length", "0")]


def test_address_of_the_caller_is_said_once_and_not_by_the_caller() -> None:
    """Nor is anything said where it has none, as over a unix socket."""
    headers = [(b"Host", b"a"), (b"x-dispatcher-client", b"10.0.0.1")]
    head = request_head("GET", "/", headers, client="::1", is_chunked=False)
    assert head == b"GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Client: ::1\r\n\r\n"
    head = request_head("PUT", "/", headers, client="", is_chunked=True)
    assert head == b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_chunks_begin_with_their_size() -> None:
    """In hexadecimal; what stands behind it is passed over."""
    assert (chunk_size(b"1f"), chunk_size(b"0"), chunk_size(b"A;x=y")) == (31, 0, 10)
    for line in (b"", b"x", b"-1", b"1_0", b"0x1"):
        with pytest.raises(Broken):
            chunk_size(line)
