"""Responses that come in one piece."""

from __future__ import annotations

import pytest

from dispatcher.core.answer import Answer
from dispatcher.delivery.serialized import read_response

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def is_like(found: Answer | str, *fields: object) -> bool:
    """Whether it is an answer with these fields."""
    assert isinstance(found, Answer), found
    return (found.status, found.content_type, found.retry_after, found.body) == fields


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", (200, b"", None, b"abc")),
        (OK + b"content-type: a/b\r\n\r\nabc", (200, b"a/b", None, b"abc")),
        (OK + CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", (200, b"", None, b"abc")),
        (OK + b"Connection: close\r\n\r\n", (200, b"", None, b"")),
        (b"HTTP/1.0 503 \r\nRetry-After: 7\r\n\r\n{}", (503, b"", b"7", b"{}")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", (204, b"", None, b"")),
        (OK + b"Content-Length: 2\r\n\r\nabc", (200, b"", None, b"ab")),
    ],
)  # fmt: skip
def test_complete_response_is_read(data: bytes, fields: tuple[object, ...]) -> None:
    """With a length, in chunks, or to the end."""
    assert is_like(read_response(data, 10), *fields)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing of the kind",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
        OK + b"Content-Length: 3\r\n\r\nab",
        OK + CHUNKED + b"2\r\nab\r\n",
        OK + b"Content-Length: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
def test_what_is_no_complete_response_is_told_why(data: bytes) -> None:
    """In words."""
    found = read_response(data, 10)
    assert isinstance(found, str)
    assert found


def test_body_that_is_too_large_is_not_kept() -> None:
    """Its head counts all the same."""
    found = read_response(OK + b"Content-Type: application/proto\r\n\r\n" + bytes(11), 10)
    assert is_like(found, 200, b"application/proto", None, b"")
    assert isinstance(found, Answer)
    assert not found.is_whole
    assert is_like(read_response(OK + b"\r\n" + bytes(10), 10), 200, b"", None, bytes(10))
