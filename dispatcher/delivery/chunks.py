"""The chunked transfer coding (RFC 9112 §7.1), read as leniently as its meaning allows. Pure.

Blanks around a size and line ends without a CR change nothing about where the body ends, so they
are taken; they are noted as `strange`, because what the next bytes on that connection mean would
rest on the same hope. A size that is no hexadecimal number, or a chunk that is longer than its
size, is `BROKEN`.

A body in very many tiny chunks is not read to its end, like one that is very large: reading it
would hold up everybody else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from dispatcher.core.tokens import TOKEN
from dispatcher.delivery.progress import FRAMING_LINES, WHOLE_FRAMING_LINES, Progress

_SIZE: Final = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)
_STRICT_SIZE: Final = re.compile(rb"[0-9A-Fa-f]+(?:;[^\x00\r\n]*)?\r")
_STRICT_TRAILER: Final = re.compile(TOKEN + rb":[^\x00\r\n]*\r")


class _At(Enum):
    SIZE = auto()
    DATA = auto()
    END_OF_DATA = auto()
    TRAILER = auto()
    END = auto()


class Chunks:
    """One chunked body.

    `strange`  its framing is not what the standard says, or was not read to its end.
    `is_cut`   after DONE: it was not.
    `rest`     after DONE: what came behind it.
    `problem`  after BROKEN: what is wrong, in words.
    """

    __slots__ = (
        "_at",
        "_is_whole",
        "_left",
        "_line",
        "_lines",
        "_most_lines",
        "_take",
        "is_cut",
        "problem",
        "rest",
        "strange",
    )

    def __init__(self, take: Callable[[bytes], None], *, is_whole: bool = False) -> None:
        """`take` is handed the pieces of the body. `is_whole`: all of it is needed, and a body in
        too many chunks is BROKEN."""
        self._take = take
        self._is_whole = is_whole
        self._most_lines = WHOLE_FRAMING_LINES if is_whole else FRAMING_LINES
        self._at = _At.SIZE
        self._left = 0
        self._line = b""  # the beginning of a line whose end has not come
        self._lines = 0
        self.strange = False
        self.is_cut = False
        self.rest = b""
        self.problem = ""

    def feed(self, data: bytes) -> Progress:
        """Take the next bytes. Not to be called again after DONE or BROKEN."""
        place = 0
        while self._at is not _At.END:
            if self._at is _At.DATA:
                piece = data[place : place + self._left]
                if not piece:
                    return Progress.MORE
                self._take(piece)
                place += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._at = _At.END_OF_DATA
                continue
            end = data.find(b"\n", place)
            if end < 0:
                self._line += data[place:]
                return Progress.MORE
            line, self._line = self._line + data[place:end], b""
            place = end + 1
            self._at = self._after(line)
            if self.problem:
                return Progress.BROKEN
            self._lines += 1
            if self._lines == self._most_lines and self._at is not _At.END:
                return self._stop()
        self.rest = data[place:]
        return Progress.DONE

    def _stop(self) -> Progress:
        """Read no more of it: chunks enough for the status to count, or trailers without end."""
        if self._at is _At.TRAILER:
            self.problem = "it has too many trailers"
            return Progress.BROKEN
        if self._is_whole:
            self.problem = "its body comes in too many small chunks"
            return Progress.BROKEN
        self.strange = self.is_cut = True
        return Progress.DONE

    def _after(self, line: bytes) -> _At:
        """What follows a line, which is without its LF."""
        match self._at:
            case _At.SIZE:
                return self._after_size(line)
            case _At.END_OF_DATA:
                if line.strip(b"\r"):
                    self.problem = "a chunk is longer than its size says"
                self.strange = self.strange or line != b"\r"
                return _At.SIZE
            case _:
                text = line.rstrip(b"\r")
                strict = _STRICT_TRAILER if text else _END_OF_LINE
                self.strange = self.strange or not strict.fullmatch(line)
                return _At.TRAILER if text else _At.END

    def _after_size(self, line: bytes) -> _At:
        match = _SIZE.fullmatch(line.rstrip(b"\r"))
        if match is None:
            self.problem = "the size of a chunk is not a hexadecimal number"
            return _At.SIZE
        self.strange = self.strange or not _STRICT_SIZE.fullmatch(line)
        self._left = int(match[1], 16)
        if self._left:
            return _At.DATA
        self._lines = 0  # from here on trailers are counted
        return _At.TRAILER


_END_OF_LINE: Final = re.compile(rb"\r")
