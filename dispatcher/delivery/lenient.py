"""Reads a response that the strict parser refuses, as browsers and curl would. Pure.

Nothing of a response is passed on, so what strictness protects others from does no harm here; but a
message whose 200 is not understood is delivered again. So: lines may end in a bare LF, values may
hold any byte, a line may be folded, a blank may stand before a colon, a length may be given twice
if it is the same, `Transfer-Encoding` wins over a length. What is no header at all, or leaves open
where the response ends (lengths that differ, chunks without a size), stays broken. Nor is the
connection used again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from dispatcher.delivery.chunks import Chunks
from dispatcher.delivery.fields import (
    Fields,
    is_chunked,
    members,
    persists,
    read_fields,
    retry_after,
)
from dispatcher.delivery.progress import BODY_BYTES, HEAD_BYTES, START_BYTES, Progress

_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_BLANK_LINES: Final = re.compile(rb"[\r\n]*")
_STATUS_LINE: Final = re.compile(rb"HTTP/([0-9]+(?:\.[0-9]+)?)[ \t]+([0-9]{3})(?![0-9])")
_PROTOCOL: Final = b"HTTP/"


class LenientReader:
    """One response, from its first byte.

    `status`, `retry_after`, `start`, `problem`  as in `response.Response`.
    `persists` its head does not announce the end of the connection.
    `fields`   of its head; `lines` are those of it, after the first.
    `is_cut`   after DONE: its body was not read to its end.
    `strange`  its body is not framed as the standard says, or something came behind it.
    """

    __slots__ = (
        "_chunks",
        "_collect",
        "_head",
        "_is_whole",
        "_left",
        "_raw",
        "_silent_bytes",
        "_skipped",
        "body_bytes",
        "fields",
        "is_cut",
        "lines",
        "persists",
        "problem",
        "retry_after",
        "start",
        "status",
        "strange",
    )

    def __init__(
        self,
        *,
        head: bool,
        collect: Callable[[bytes], None] | None = None,
        is_whole: bool = True,
    ) -> None:
        """`head`: it answers a HEAD. `collect` is handed the body, which is read to its end then if
        `is_whole` says so, and otherwise as far as any other."""
        self._head = head
        self._collect = collect
        self._is_whole = is_whole and collect is not None
        self.lines: list[bytes] = []
        self.is_cut = False
        self.fields: Fields = {}
        self._raw = b""  # of heads, what is not read yet
        self._skipped = 0
        self._chunks: Chunks | None = None
        self._left = -1  # bytes of the body still to come; below 0: until the connection ends
        self._silent_bytes = 0
        self.body_bytes = 0
        self.status = 0
        self.retry_after: bytes | None = None
        self.start = b""
        self.problem = ""
        self.persists = False
        self.strange = False

    def feed(self, data: bytes) -> Progress:
        """Take the next bytes. Not to be called again after DONE or BROKEN."""
        return self._read_body(data) if self.status else self._read_heads(data)

    def end(self, *, clean: bool) -> Progress:
        """The connection ended, in an orderly way or not."""
        if not self.status:
            self.problem = "the connection ended within the head of the response"
            return Progress.BROKEN
        if clean and self._chunks is None and self._left < 0:
            return Progress.DONE
        self.problem = "the body of the response was cut short"
        return Progress.BROKEN

    def _read_heads(self, data: bytes) -> Progress:
        """Read up to the end of the final head; interim ones are skipped (RFC 9110 §15.2)."""
        searched = max(0, len(self._raw) - 2)
        self._raw += data
        place = 0  # where the next head begins: nothing is copied for each of many interim ones
        while True:
            if blank := _BLANK_LINES.match(self._raw, place):
                place = blank.end()
            if not _PROTOCOL.startswith(self._raw[place : place + len(_PROTOCOL)]):
                return self._broken("it does not begin with HTTP/")
            end = _END_OF_HEAD.search(self._raw, max(place, searched))
            if self._skipped + (len(self._raw) if end is None else end.end()) > HEAD_BYTES:
                return self._broken(f"more than {HEAD_BYTES} bytes of head")
            if end is None:
                self._skip(place)
                return self._wait_for_head()
            lines = self._raw[place : end.start()].split(b"\n")
            place = end.end()
            progress = self._read_head(lines)
            if progress is not Progress.MORE:
                self.strange = place < len(self._raw)
                return progress
            if self.status:
                rest, self._raw = self._raw[place:], b""
                return self._read_body(rest)

    def _skip(self, size_bytes: int) -> None:
        self._skipped += size_bytes
        self._raw = self._raw[size_bytes:]

    def _wait_for_head(self) -> Progress:
        """Whoever speaks something else is not waited for any longer than its first line."""
        line, end, _ = self._raw.partition(b"\n")
        if end and not _STATUS_LINE.match(line):
            return self._broken("its first line is not the one of a response")
        return Progress.MORE

    def _read_head(self, lines: list[bytes]) -> Progress:
        """Read one head. MORE: an interim one without a status set, or one that a body follows."""
        match = _STATUS_LINE.match(lines[0])
        if match is None:
            return self._broken("its first line is not the one of a response")
        status = int(match[2])
        if status == 101:
            return self._broken("101 Switching Protocols, which was not asked for", "")
        if status < 100:
            return self._broken(f"{status:03} is not a status", "")
        if status < 200:
            return Progress.MORE
        fields = read_fields(lines[1:])
        if fields is None:
            return self._broken("a line of its head is no header")
        if not self._head and status not in (204, 304) and not self._frame(fields):
            return Progress.BROKEN
        self.fields = fields
        self.lines = lines[1:]
        self.persists = persists(fields, match[1])
        self.status = status
        if status >= 300:
            self.retry_after = retry_after(fields)
        if self._head or status in (204, 304) or self._left == 0:
            return Progress.DONE
        return Progress.MORE

    def _frame(self, fields: Fields) -> bool:
        """Find out how the body ends (RFC 9112 §6.3); False when that cannot be known."""
        if b"transfer-encoding" in fields:
            if is_chunked(fields):
                self._chunks = Chunks(self._take, is_whole=self._is_whole)
        elif b"content-length" in fields:
            said = set(members(fields, b"content-length"))
            length = said.pop()
            if said or not length.isdigit() or len(length) > 19:
                self.problem = "not a valid HTTP/1.1 response: its length is not one number"
                return False
            self._left = int(length)
        return True

    def _read_body(self, data: bytes) -> Progress:
        self._silent_bytes += len(data)
        if self._chunks is not None:
            progress = self._chunks.feed(data)
            self.problem = self._chunks.problem
            self.strange = self._chunks.strange or bool(self._chunks.rest)
            self.is_cut = self._chunks.is_cut
        elif self._left < 0:
            self._take(data)
            progress = Progress.MORE
        else:
            self.strange = self.strange or len(data) > self._left
            self._take(data[: self._left])
            self._left -= min(self._left, len(data))
            progress = Progress.MORE if self._left else Progress.DONE
        # A body of just so many bytes is read to its end where somebody wants to know whether it
        # is longer.
        most = BODY_BYTES if self._collect is None else BODY_BYTES + 1
        if progress is not Progress.DONE and self.body_bytes >= most:
            self.strange = self.is_cut = True
            self.problem = ""
            return Progress.DONE
        if progress is Progress.MORE and self._silent_bytes > HEAD_BYTES:
            return self._broken(f"more than {HEAD_BYTES} bytes without a byte of the body", "")
        return progress

    def _take(self, piece: bytes) -> None:
        """Count the body, and keep how it starts when it tells why a message was refused."""
        if piece:
            self._silent_bytes = 0
        if not self._is_whole:
            self.body_bytes += len(piece)
        if self._collect is not None:
            self._collect(piece)
        if self.status >= 300 and len(self.start) < START_BYTES:
            self.start += piece[: START_BYTES - len(self.start)]

    def _broken(self, why: str, prefix: str = "not a valid HTTP/1.1 response: ") -> Progress:
        self.problem = prefix + why
        return Progress.BROKEN
