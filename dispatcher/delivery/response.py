"""What the bytes of a response mean. Pure: bytes in, a `Progress` out; no socket, no clock.

One `Response` belongs to one connection and is used for one response after the other. The parser is
llhttp in its strict mode (httptools): what it refuses is `BROKEN`. It does not know three things,
which are added here: that the answer to HEAD has no body, that a body without a length ends with
the connection (RFC 9112 §6.3), and how much is worth reading.
"""

from __future__ import annotations

import re
from enum import Enum, auto

import httptools

HEAD_BYTES = 64 * 1024
"""A head may have this many bytes, the interim (1xx) answers before it included; so may everything
else that brings no byte of a body (chunk extensions, trailers)."""

BODY_BYTES = 1024 * 1024
"""After this much of a body the rest is not read, and the status counts."""

START_BYTES = 1024
"""This much of the body of an answer other than 2xx is kept for the dead letter."""


_INTERIM = re.compile(rb"HTTP/[0-9.]+ 1[0-9][0-9]")


class Progress(Enum):
    """How far a response has come. `DONE`: nothing more is needed, see `Response.reusable`."""

    MORE = auto()
    DONE = auto()
    BROKEN = auto()


class Response:
    """The response being read on one connection.

    `status`       of the final answer, 0 as long as its head is not complete.
    `retry_after`  value of its first `Retry-After`, None without one.
    `start`        the first bytes of its body; empty for a 2xx.
    `untouched`    not a single byte came since `expect`.
    `reusable`     after DONE: the connection may carry another request.
    `problem`      after BROKEN: what is wrong, in words.
    """

    __slots__ = (
        "_body_bytes",
        "_done",
        "_head",
        "_parser",
        "_raw_head",
        "_silent_bytes",
        "problem",
        "retry_after",
        "reusable",
        "start",
        "status",
        "untouched",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._raw_head = b""
        self.expect(head=False)

    def expect(self, *, head: bool) -> None:
        """Begin: the next bytes answer a request. `head`: its method was HEAD."""
        self._head = head
        self._done = False
        self._raw_head = b""
        self._silent_bytes = 0
        self._body_bytes = 0
        self.status = 0
        self.retry_after: bytes | None = None
        self.start = b""
        self.untouched = True
        self.reusable = False
        self.problem = ""

    def feed(self, data: bytes) -> Progress:
        """Take the next bytes. Not to be called again after DONE or BROKEN, until `expect`."""
        self.untouched = False
        if not self.status and self._silent_bytes + len(data) > HEAD_BYTES:
            return self._feed_long_head(data, HEAD_BYTES - self._silent_bytes)
        return self._parse(data)

    def end(self, *, clean: bool) -> Progress:
        """The connection ended: with an orderly close (`clean`), or by a reset or another error."""
        if not self.status:
            self.problem = "the connection ended within the head of the response"
            return Progress.BROKEN
        if clean and self._ends_with_connection():
            return Progress.DONE
        self.problem = "the body of the response was cut short"
        return Progress.BROKEN

    def _feed_long_head(self, data: bytes, allowed: int) -> Progress:
        """Let the parser see no more of a head than is allowed, however the bytes arrive."""
        progress = self._parse(data[:allowed])
        if progress is Progress.DONE:
            self.reusable = False
        if progress is not Progress.MORE:
            return progress
        if not self.status:
            self.problem = f"the head of the response is larger than {HEAD_BYTES} bytes"
            return Progress.BROKEN
        return self._parse(data[allowed:])

    def _parse(self, data: bytes) -> Progress:
        self._silent_bytes += len(data)
        if not self.status:
            self._raw_head += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.reusable = False
            if self._done or self._body_bytes >= BODY_BYTES:
                return Progress.DONE
            self.problem = self.problem or f"not a valid HTTP/1.1 response: {error}"
            return Progress.BROKEN
        if self._done:
            if self._head:
                # The parser waits for the body that this answer's length speaks of.
                self._parser = httptools.HttpResponseParser(self)
            return Progress.DONE
        if self._body_bytes >= BODY_BYTES:
            return Progress.DONE
        if self._silent_bytes > HEAD_BYTES:
            self.problem = f"more than {HEAD_BYTES} bytes without a byte of the body"
        return Progress.BROKEN if self.problem else Progress.MORE

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Something follows the response: nobody asked for it."""
        if self._done:
            self.reusable = False

    def on_headers_complete(self) -> None:
        """Learn the status; skip interim answers (RFC 9110 §15.2)."""
        if self._done:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100:
                self.problem = f"{status:03} is not a status"
            elif status == 101:
                self.problem = "101 Switching Protocols, which was not asked for"
            return
        self.status = status
        if status >= 300:
            self.retry_after = next(iter(self._values(b"retry-after")), None)
        if self._head:
            self._done = True
            self.reusable = self._persists()

    def on_body(self, data: bytes) -> None:
        """Count the body, and keep how it starts when it tells why a message was refused."""
        if self._done:
            self.reusable = False
            return
        self._silent_bytes = 0
        self._body_bytes += len(data)
        if self.status >= 300 and len(self.start) < START_BYTES:
            self.start += data[: START_BYTES - len(self.start)]

    def on_message_complete(self) -> None:
        """Note that the response is whole (an interim answer has a status of 0 here)."""
        if self.status and not self._done:
            self._done = True
            self.reusable = self._parser.should_keep_alive()

    # What the head says. Looked at only when it matters: a callback for each header line would cost
    # more than all the rest of a plain answer.

    def _values(self, name: bytes) -> list[bytes]:
        """The values of a header of the final answer, whose head the parser took for valid."""
        head = self._raw_head.lstrip(b"\r\n")
        while True:
            lines, _, rest = head.partition(b"\r\n\r\n")
            if not _INTERIM.match(lines):
                break
            head = rest
        pairs = (line.partition(b":") for line in lines.split(b"\r\n")[1:])
        return [value.strip(b" \t") for key, _, value in pairs if key.lower() == name]

    def _ends_with_connection(self) -> bool:
        """No length and no chunks: the body is what comes until the close (RFC 9112 §6.3, 8)."""
        codings = b",".join(self._values(b"transfer-encoding")).lower()
        chunked = codings.rpartition(b",")[2].strip() == b"chunked"
        return not chunked and not self._values(b"content-length")

    def _persists(self) -> bool:
        """Apply RFC 9112 §9.3 to an answer to HEAD: the parser takes one without a length for one
        that ends with the connection."""
        options = b",".join(self._values(b"connection")).lower().split(b",")
        tokens = {option.strip() for option in options}
        if b"close" in tokens:
            return False
        return self._parser.get_http_version() == "1.1" or b"keep-alive" in tokens
