"""What the bytes of a response mean. Pure: bytes in, a `Progress` out; no socket, no clock.

One `Response` belongs to one connection and is used for one response after the other. The parser is
llhttp in its strict mode (httptools). It does not know three things, which are added here: that the
answer to HEAD has no body, that a body without a length ends with the connection (RFC 9112 §6.3),
and how much is worth reading. What it refuses is read once more by a `LenientReader`, and so is a
chunked body that does not come with its head: there it could be refused when its beginning is gone.

Most answers of a destination are the same bytes as the one before. A parser that stands between two
answers makes the same of the same bytes, so these are not parsed again: see `feed`.
"""

from __future__ import annotations

import re
from typing import Final

import httptools

from dispatcher.delivery.fields import Fields, is_chunked, persists, read_fields, retry_after
from dispatcher.delivery.lenient import LenientReader
from dispatcher.delivery.progress import BODY_BYTES, HEAD_BYTES, START_BYTES, Progress

_USUAL_BYTES: Final = 512
"""Longer answers are not remembered: an idle connection holds little."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_INTERIM = re.compile(rb"HTTP/[0-9.]+ 1[0-9][0-9]")


class Response:
    """The response being read on one connection.

    `status`       of the final answer, 0 as long as its head is not complete.
    `retry_after`  value of its first `Retry-After`, None without one.
    `start`        the first bytes of its body; empty for a 2xx.
    `untouched`    not a single byte came since `expect`.
    `reusable`     after DONE: the connection may carry another request.
    `says_close`   after DONE: the destination closes the connection.
    `problem`      after BROKEN: what is wrong, in words.
    """

    __slots__ = (
        "_body_bytes",
        "_done",
        "_fresh",
        "_head",
        "_lenient",
        "_parser",
        "_raw_head",
        "_refusal",
        "_silent_bytes",
        "_usual",
        "_usual_status",
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
        self._lenient: LenientReader | None = None
        self._refusal = ""
        self._usual = (
            b""  # a whole answer, a success after which the connection could be used again
        )
        self._usual_status = 0
        self._fresh = False  # nothing but what `expect` sets first has changed since the last one
        self.expect(head=False)

    def expect(self, *, head: bool) -> None:
        """Begin: the next bytes answer a request. `head`: its method was HEAD."""
        self._head = head
        self.status = 0
        self.untouched = True
        self.reusable = False
        if self._fresh:
            return
        self._fresh = True
        self._done = False
        self._raw_head = b""
        self._lenient = None
        self._silent_bytes = 0
        self._body_bytes = 0
        self.retry_after: bytes | None = None
        self.start = b""
        self.problem = ""

    def feed(self, data: bytes) -> Progress:
        """Take the next bytes. Not to be called again after DONE or BROKEN, until `expect`."""
        if data == self._usual and self.untouched and not self._head:
            self.untouched = False
            self.status = self._usual_status
            self.reusable = True
            return Progress.DONE
        self.untouched = self._fresh = False
        if self._lenient is not None:
            return self._read_on(self._lenient, data)
        if not self.status and self._silent_bytes + len(data) > HEAD_BYTES:
            return self._feed_long_head(data, HEAD_BYTES - self._silent_bytes)
        return self._parse(data)

    def drop(self) -> None:
        """Nobody reads on."""

    def end(self, *, clean: bool) -> Progress:
        """The connection ended: with an orderly close (`clean`), or by a reset or another error."""
        if self._lenient is not None:
            progress = self._lenient.end(clean=clean)
            self.problem = self._lenient.problem
            return progress
        if not self.status:
            self.problem = "the connection ended within the head of the response"
            return Progress.BROKEN
        if clean and self._ends_with_connection():
            return Progress.DONE
        self.problem = "the body of the response was cut short"
        return Progress.BROKEN

    @property
    def says_close(self) -> bool:
        """Whether the head announces that the connection ends (RFC 9112 §9.3)."""
        if self.reusable:
            return False
        if self._lenient is not None and self._refusal:
            return not self._lenient.persists
        return not self._persists()

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
        return self.feed(data[allowed:])

    def _parse(self, data: bytes) -> Progress:
        self._silent_bytes += len(data)
        in_head = not self.status
        if in_head:
            self._raw_head += data
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if self._done or self._body_bytes >= BODY_BYTES:
                return Progress.DONE
            if self.problem:
                return Progress.BROKEN
            if in_head:
                return self._read_again(self._raw_head, refusal=str(error))
            self.problem = f"not a valid HTTP/1.1 response: {error}"
            return Progress.BROKEN
        if self._done:
            if self._head:
                # The parser waits for the body that this answer's length speaks of.
                self._parser = httptools.HttpResponseParser(self)
            elif self.reusable and self.status < 300 and len(data) == len(self._raw_head):
                self._usual = data if len(data) <= _USUAL_BYTES else b""
                self._usual_status = self.status
            if len(data) > HEAD_BYTES:
                self._raw_head = self._raw_head[:HEAD_BYTES]  # an idle connection holds no body
            return Progress.DONE
        if self._body_bytes >= BODY_BYTES:
            return Progress.DONE
        if self.problem:
            return Progress.BROKEN
        if in_head and self.status:
            raw, self._raw_head = self._raw_head, self._raw_head[:HEAD_BYTES]
            if b"chunked" in self._raw_head.lower():
                return self._read_again(raw, refusal="")
        return Progress.MORE

    def _read_again(self, raw: bytes, *, refusal: str) -> Progress:
        """Read what came so far (`raw`), and all that comes, with the other reader. `refusal`: what
        the parser said; "" when it refused nothing."""
        self._lenient = self._reader()
        self._refusal = refusal
        self.start = b""
        return self._read_on(self._lenient, raw)

    def _reader(self) -> LenientReader:
        return LenientReader(head=self._head)

    def _read_on(self, reader: LenientReader, data: bytes) -> Progress:
        progress = reader.feed(data)
        self.status = reader.status
        self.retry_after = reader.retry_after
        self.start = reader.start
        if progress is Progress.BROKEN:
            self.problem = self._refusal and f"not a valid HTTP/1.1 response: {self._refusal}"
            self.problem = self.problem or reader.problem
        elif progress is Progress.DONE and not self._refusal and not reader.strange:
            self.reusable = self._persists()
            self._parser = httptools.HttpResponseParser(self)  # it stopped halfway
        return progress

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
            self.retry_after = retry_after(self._fields())
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

    def _fields(self) -> Fields:
        """The fields of the final answer, whose head the parser took for valid."""
        return read_fields(self._lines()) or {}

    def _lines(self) -> list[bytes]:
        """The lines of its head after the first."""
        heads = self._raw_head.lstrip(b"\r\n")
        begin = 0
        end = heads.find(_END_OF_HEAD)
        while end >= 0 and _INTERIM.match(heads, begin):
            begin = end + len(_END_OF_HEAD)
            end = heads.find(_END_OF_HEAD, begin)
        return heads[begin : max(begin, end)].split(b"\r\n")[1:]

    def _ends_with_connection(self) -> bool:
        """No length and no chunks: the body is what comes until the close (RFC 9112 §6.3, 8)."""
        fields = self._fields()
        return not is_chunked(fields) and b"content-length" not in fields

    def _persists(self) -> bool:
        """The parser is not asked: for it an answer to HEAD without a length ends with the
        connection."""
        return persists(self._fields(), self._parser.get_http_version().encode())
