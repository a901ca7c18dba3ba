"""Connect, the protocol of the function service over HTTP, as far as unary calls need it:
https://connectrpc.com/docs/protocol

    POST /dispatch.sdk.v1.DispatchService/Dispatch
    Content-Type: application/proto, or application/json
    Connect-Protocol-Version: 1
    Connect-Timeout-Ms: 5000

A good answer is a 200 with a message in the request's content type; an error is another status
with `{"code": …, "message": …}` as application/json, whatever the request was.
"""

from __future__ import annotations

import json
import re
import zlib
from enum import Enum
from typing import Final

TIMEOUT_HEADER: Final = "Connect-Timeout-Ms"
VERSION_HEADER: Final = "Connect-Protocol-Version"
VERSION: Final = "1"


class Code(Enum):
    """Connect's error codes: the word on the wire, and the HTTP status it is sent with."""

    CANCELED = ("canceled", 499)
    UNKNOWN = ("unknown", 500)
    INVALID_ARGUMENT = ("invalid_argument", 400)
    DEADLINE_EXCEEDED = ("deadline_exceeded", 504)
    NOT_FOUND = ("not_found", 404)
    ALREADY_EXISTS = ("already_exists", 409)
    PERMISSION_DENIED = ("permission_denied", 403)
    RESOURCE_EXHAUSTED = ("resource_exhausted", 429)
    FAILED_PRECONDITION = ("failed_precondition", 400)
    ABORTED = ("aborted", 409)
    OUT_OF_RANGE = ("out_of_range", 400)
    UNIMPLEMENTED = ("unimplemented", 501)
    INTERNAL = ("internal", 500)
    UNAVAILABLE = ("unavailable", 503)
    DATA_LOSS = ("data_loss", 500)
    UNAUTHENTICATED = ("unauthenticated", 401)

    def __init__(self, word: str, http_status: int) -> None:
        self.word = word
        self.http_status = http_status


_BY_WORD: Final = {code.word: code for code in Code}

# What a status says by itself: somebody on the way answered, not an endpoint that speaks Connect.
_OF_HTTP: Final = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}


class Encoding(Enum):
    """How a message stands in a body; the value is the content type."""

    PROTO = "application/proto"
    JSON = "application/json"


class ConnectError(Exception):
    """An error of a unary call: what the server answers with, or what it was answered."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __repr__(self) -> str:
        return f"ConnectError({self.code.word}: {self.message})"

    @property
    def http_status(self) -> int:
        return self.code.http_status

    def body(self) -> bytes:
        """The answer's body; its content type is application/json."""
        return json.dumps({"code": self.code.word, "message": self.message}).encode()


def error_of(http_status: int, body: bytes) -> ConnectError:
    """Read the answer of a call that failed, from whoever gave it.

    A body that is no Connect error is quoted in the message, up to 200 characters; without a body
    the message is the status.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        code = _BY_WORD.get(str(said.get("code")))
        if code is not None:
            return ConnectError(code, str(said.get("message") or ""))
    text = body[:800].decode("utf-8", "replace").strip()[:200]
    message = f"HTTP {http_status}: {text}" if text else f"HTTP {http_status}"
    return ConnectError(_OF_HTTP.get(http_status, Code.UNKNOWN), message)


def encoding_of(content_type: str | None) -> Encoding | None:
    """Return how a body with this Content-Type is encoded. None: by no way known here, which a
    server answers with 415. Parameters such as `charset` are ignored."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    return _ENCODINGS.get(kind)


_ENCODINGS: Final = {encoding.value: encoding for encoding in Encoding}


def timeout_of(header: str | None) -> int | None:
    """Read a Connect-Timeout-Ms: milliseconds the caller waits, None without one.

    Raises:
        ConnectError: invalid_argument; it is not a number of at most 10 digits.
    """
    if header is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", header):
        raise ConnectError(
            Code.INVALID_ARGUMENT,
            f"{TIMEOUT_HEADER}: expected milliseconds as at most 10 digits, got {header[:40]!r}",
        )
    return int(header)


def check_version(header: str | None) -> None:
    """Check a Connect-Protocol-Version; a request may come without.

    Raises:
        ConnectError: invalid_argument; it is of another version.
    """
    if header is not None and header != VERSION:
        raise ConnectError(
            Code.INVALID_ARGUMENT,
            f"{VERSION_HEADER}: expected {VERSION!r}, got {header[:40]!r}",
        )


def decoded(body: bytes, content_encoding: str | None, *, max_bytes: int) -> bytes:
    """Undo a Content-Encoding: none, `identity` or `gzip`.

    Raises:
        ConnectError: unimplemented for another one; invalid_argument where the body is not gzip;
            resource_exhausted where more than `max_bytes` would come out.
    """
    coding = (content_encoding or "identity").strip().lower()
    if coding == "identity":
        return body
    if coding != "gzip":
        raise ConnectError(
            Code.UNIMPLEMENTED,
            f"Content-Encoding: {coding[:40]!r} is not known here; send gzip, or none",
        )
    gunzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        data = gunzip.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ConnectError(
            Code.INVALID_ARGUMENT, f"Content-Encoding is gzip, the body is not: {error}"
        ) from error
    if len(data) > max_bytes:
        raise ConnectError(
            Code.RESOURCE_EXHAUSTED, f"the body is larger than {max_bytes} bytes when unpacked"
        )
    if not gunzip.eof or gunzip.unused_data:
        raise ConnectError(
            Code.INVALID_ARGUMENT, "Content-Encoding is gzip, and the body does not end with it"
        )
    return data
