"""The chunked transfer coding (RFC 9112 section 7.1), read strictly.

Lenient readers of chunk sizes are how requests are smuggled: a size is hexadecimal digits and
nothing else, lines end in CR LF, and what follows a chunk's data is CR LF. Extensions and trailers
are read, bounded, and dropped; both are only meant for the next hop.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from dispatcher.core.tokens import TOKEN
from dispatcher.ingress import refusals
from dispatcher.ingress.refusals import MalformedError
from dispatcher.ingress.turn import Turn

MAX_EXTRA_BYTES: Final = 16 * 1024
"""Extensions and trailers of one request together, in bytes."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
_TRAILER = re.compile(TOKEN + rb":[^\0\r\n]*")
_SIZE_BYTES: Final = 18
"""Bytes of a size line that cost nothing: 16 digits and CR LF."""


class _Expects(Enum):
    SIZE = "the line with the size of the next chunk"
    DATA = "bytes of a chunk"
    DATA_END = "the line end after a chunk's bytes"
    TRAILER = "a trailer line, or the empty line that ends the body"
    NOTHING = "the body is over"


class ChunkedDecoder:
    """Takes a chunked body apart, in whatever pieces it arrives.

    `announced` is the sum of the sizes read so far: more than what was handed out while a chunk is
                under way.
    `end`       is where `feed` stopped: at the end of what it was given, unless the body or the
                turn was over before.
    """

    __slots__ = ("_expects", "_extra_bytes", "_left", "_line", "announced", "end")

    def __init__(self) -> None:
        self._expects = _Expects.SIZE
        self._left = 0
        self._line = b""
        self._extra_bytes = 0
        self.announced = 0
        self.end = 0

    @property
    def done(self) -> bool:
        """Whether the body is over; what follows begins at `end`."""
        return self._expects is _Expects.NOTHING

    def feed(self, data: bytes, start: int, turn: Turn) -> bytes | bytearray:
        """Take the next bytes of the connection, `data[start:]`, as far as the turn goes; return
        the bytes of the body among them.

        A step is a line, or the bytes of a chunk.

        Raises:
            MalformedError: nothing that follows can be read any more.
        """
        size = len(data) - start
        if self._expects is _Expects.DATA and size <= self._left:
            self._take_data(size)
            self.end = len(data)
            return data[start:]
        body = bytearray()
        at = start
        steps = turn.steps
        while at < len(data) and steps > 0 and self._expects is not _Expects.NOTHING:
            steps -= 1
            if self._expects is _Expects.DATA:
                end = min(at + self._left, len(data))
                body += data[at:end]
                self._take_data(end - at)
            else:
                end = data.find(b"\n", at) + 1
                if not end:
                    self._keep(data[at:])
                    at = len(data)
                    break
                self._take_line(self._line + data[at:end])
                self._line = b""
            at = end
        self.end = at
        turn.steps = steps
        return body

    def _take_data(self, size: int) -> None:
        self._left -= size
        if not self._left:
            self._expects = _Expects.DATA_END

    def _keep(self, part: bytes) -> None:
        """Hold the start of a line, unless it has become too long for one."""
        self._line += part
        if self._expects is _Expects.DATA_END and self._line != b"\r":
            raise MalformedError(refusals.CHUNK)
        if len(self._line) > _SIZE_BYTES + MAX_EXTRA_BYTES:
            raise MalformedError(refusals.CHUNK)

    def _take_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise MalformedError(refusals.CHUNK)
        text = line[:-2]
        if self._expects is _Expects.SIZE:
            self._take_size(text)
        elif self._expects is _Expects.TRAILER:
            self._take_trailer(text)
        elif text:
            raise MalformedError(refusals.CHUNK)
        else:
            self._expects = _Expects.SIZE

    def _take_size(self, text: bytes) -> None:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise MalformedError(refusals.CHUNK)
        self._count_extra(len(match[2]))
        self._left = int(match[1], 16)
        self.announced += self._left
        self._expects = _Expects.DATA if self._left else _Expects.TRAILER

    def _take_trailer(self, text: bytes) -> None:
        if not text:
            self._expects = _Expects.NOTHING
            return
        if not _TRAILER.fullmatch(text):
            raise MalformedError(refusals.CHUNK)
        self._count_extra(len(text) + 2)

    def _count_extra(self, size: int) -> None:
        self._extra_bytes += size
        if self._extra_bytes > MAX_EXTRA_BYTES:
            raise MalformedError(refusals.CHUNK)
