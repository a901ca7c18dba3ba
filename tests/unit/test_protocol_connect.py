"""Connect: codes, error bodies and headers of unary calls."""

from __future__ import annotations

import gzip
import json

import pytest

from dispatcher.protocol.connect import (
    Code,
    ConnectError,
    Encoding,
    check_version,
    decoded,
    encoding_of,
    error_of,
    timeout_of,
)


def test_codes_have_the_http_statuses_of_the_specification() -> None:
    """https://connectrpc.com/docs/protocol#error-codes"""
    assert {code.word: code.http_status for code in Code} == {
        "canceled": 499,
        "unknown": 500,
        "invalid_argument": 400,
        "deadline_exceeded": 504,
        "not_found": 404,
        "already_exists": 409,
        "permission_denied": 403,
        "resource_exhausted": 429,
        "failed_precondition": 400,
        "aborted": 409,
        "out_of_range": 400,
        "unimplemented": 501,
        "internal": 500,
        "unavailable": 503,
        "data_loss": 500,
        "unauthenticated": 401,
    }


@pytest.mark.parametrize("code", Code)
def test_error_is_read_as_it_was_written(code: Code) -> None:
    """The code comes from the body, where a status stands for several."""
    error = ConnectError(code, "what to do, “quoted”")
    read = error_of(error.http_status, error.body())
    assert (read.code, read.message) == (code, "what to do, “quoted”")


def test_error_body_has_code_and_message() -> None:
    """What dispatch-py parses."""
    body = ConnectError(Code.NOT_FOUND, "no such function: f").body()
    assert json.loads(body) == {"code": "not_found", "message": "no such function: f"}


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (404, b"<html>Not Found</html>", Code.UNIMPLEMENTED, "HTTP 404: <html>Not Found</html>"),
        (403, b"", Code.PERMISSION_DENIED, "HTTP 403"),
        (401, b'{"code": "no_such_code"}', Code.UNAUTHENTICATED, "HTTP 401"),
        (502, b"[1]", Code.UNAVAILABLE, "HTTP 502: [1]"),
        (503, b"\xff\xfe", Code.UNAVAILABLE, "HTTP 503"),
        (429, b"slow down", Code.UNAVAILABLE, "HTTP 429: slow down"),
        (418, b"", Code.UNKNOWN, "HTTP 418"),
        (500, b"[" * 100_000, Code.UNKNOWN, "HTTP 500: [[["),
        (500, b'{"code": ["not_found"]}', Code.UNKNOWN, "HTTP 500"),
        (404, b'{"code": "not_found"}', Code.NOT_FOUND, ""),
    ],
)
def test_body_that_is_no_connect_error_is_told_by_its_status(
    status: int, body: bytes, code: Code, message: str
) -> None:
    """A proxy on the way, or dispatch-go's bare 403."""
    error = error_of(status, body)
    assert error.code is code
    assert error.message.startswith(message)
    assert len(error.message) <= 220


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("application/proto", Encoding.PROTO),
        ("application/json", Encoding.JSON),
        ("Application/JSON; charset=utf-8", Encoding.JSON),
        ("application/grpc", None),
        ("text/plain", None),
        ("", None),
        (None, None),
    ],
)
def test_content_type_says_how_a_message_is_encoded(
    header: str | None, encoding: Encoding | None
) -> None:
    """Two are known; others are 415."""
    assert encoding_of(header) is encoding


def test_timeout_is_milliseconds() -> None:
    """What dispatch-py sends, and the most there may be."""
    assert timeout_of("5000") == 5000
    assert timeout_of("9999999999") == 9_999_999_999
    assert timeout_of(None) is None


@pytest.mark.parametrize("header", ["", "-1", "5s", "1.5", "10000000000", "٣", " 5"])
def test_timeout_that_is_no_number_is_an_invalid_argument(header: str) -> None:
    """The message names the header."""
    with pytest.raises(ConnectError, match="Connect-Timeout-Ms") as raised:
        timeout_of(header)
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_version_other_than_1_is_an_invalid_argument() -> None:
    """None at all is fine: curl sends none."""
    check_version("1")
    check_version(None)
    with pytest.raises(ConnectError, match="Connect-Protocol-Version"):
        check_version("2")


def test_gzip_is_undone() -> None:
    """None and identity change nothing."""
    assert decoded(gzip.compress(b"message"), "gzip", max_bytes=7) == b"message"
    assert decoded(b"message", "identity", max_bytes=7) == b"message"
    assert decoded(b"message", None, max_bytes=7) == b"message"


@pytest.mark.parametrize(
    ("body", "encoding", "code"),
    [
        (gzip.compress(bytes(8), mtime=0), "gzip", Code.RESOURCE_EXHAUSTED),
        (gzip.compress(bytes(10_000_000), mtime=0), "gzip", Code.RESOURCE_EXHAUSTED),
        (b"message", "gzip", Code.INVALID_ARGUMENT),
        (gzip.compress(b"m", mtime=0)[:-1], "gzip", Code.INVALID_ARGUMENT),
        (gzip.compress(b"m", mtime=0) + b"x", "gzip", Code.INVALID_ARGUMENT),
        (b"message", "br", Code.UNIMPLEMENTED),
    ],
)
def test_body_that_cannot_be_unpacked_is_refused(body: bytes, encoding: str, code: Code) -> None:
    """A small body that unpacks to gigabytes is stopped at the limit."""
    with pytest.raises(ConnectError) as raised:
        decoded(body, encoding, max_bytes=7)
    assert raised.value.code is code
