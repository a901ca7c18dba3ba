"""Numbers, text and blobs of an event's header, in few bytes.

A number takes 7 bits a byte, lowest first, with bit 7 set in all but the last; one with a sign is
folded first (0, -1, 1, -2 ...). Text is written once in a header, as its length and UTF-8; the next
time it is the number of the text before. Of a blob the header has the length; its bytes follow
behind the header, all blobs in the order in which the header names them.
"""

from __future__ import annotations

import sys

from dispatcher.functions.events import Blob
from dispatcher.functions.spans import Span, span
from dispatcher.queue.records.kinds import RecordError


class Writer:
    """A header that is made: `header`, and the `blobs` that belong behind it."""

    __slots__ = ("_texts", "blobs", "header")

    def __init__(self) -> None:
        self.header = bytearray()
        self.blobs: list[bytes] = []
        self._texts: dict[str, int] = {}

    def number(self, value: int) -> None:
        """A number that is not negative."""
        append = self.header.append
        while value > 0x7F:
            append(value & 0x7F | 0x80)
            value >>= 7
        append(value)

    def signed(self, value: int) -> None:
        """A number that may be negative."""
        self.number(value << 1 if value >= 0 else (-value << 1) - 1)

    def text(self, value: str) -> None:
        """Text."""
        known = self._texts.get(value)
        if known is not None:
            self.number(known)
            return
        self._texts[value] = len(self._texts) + 1
        data = value.encode("utf-8", "surrogatepass")
        self.number(0)
        self.number(len(data))
        self.header += data

    def blob(self, value: Blob) -> None:
        """Bytes."""
        assert isinstance(value, bytes), "an event is written with its bytes"
        self.number(len(value))
        self.blobs.append(value)

    def blob_or_none(self, value: Blob | None) -> None:
        """Bytes, or None."""
        self.number(value is not None)
        if value is not None:
            self.blob(value)


class Reader:
    """A header that is read; its blobs become spans of the record at `position`."""

    __slots__ = ("_at", "_header", "_offset", "_position", "_texts")

    def __init__(self, position: int, header: bytes, offset: int) -> None:
        """`offset` is where in the payload the blobs begin."""
        self._position = position
        self._header = header
        self._offset = offset
        self._at = 0
        self._texts: list[str] = []

    def number(self) -> int:
        """See `Writer.number`."""
        header = self._header
        at = self._at
        value = shift = 0
        while (byte := header[at]) > 0x7F:
            value |= (byte & 0x7F) << shift
            shift += 7
            at += 1
        self._at = at + 1
        return value | byte << shift

    def signed(self) -> int:
        """See `Writer.signed`."""
        value = self.number()
        return -(value + 1 >> 1) if value & 1 else value >> 1

    def text(self) -> str:
        """See `Writer.text`. What is equal is the same object, over all headers."""
        known = self.number()
        if known:
            return self._texts[known - 1]
        size = self.number()
        data = self._header[self._at : self._at + size]
        if len(data) != size:
            raise RecordError("an event ends in the middle of a text")
        self._at += size
        text = sys.intern(data.decode("utf-8", "surrogatepass"))
        self._texts.append(text)
        return text

    def blob(self) -> Span:
        """See `Writer.blob`."""
        size = self.number()
        where = span(self._position, self._offset, size)
        self._offset += size
        return where

    def blob_or_none(self) -> Span | None:
        """See `Writer.blob_or_none`."""
        return self.blob() if self.number() else None
