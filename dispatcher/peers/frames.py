"""What goes over a link: frames, each of a fixed head and a payload. Pure.

    length u32 | type u8 | kind u16 | number u64 | payload

Numbers are little endian; `length` is the payload's. `number` says what a frame belongs to: a
question or a stream. Whoever begins one chooses its number: an odd one on the side that connected,
an even one on the other, so that a number means one thing on a link.

    HELLO    the first one of each side (`hello`)
    PING     says that the process is alive
    TELL     something of this kind, which nobody answers
    ASK      a question of this kind ─▶ ANSWER | FAILED; CANCEL: whoever asked waits no more
    OPEN     a stream of this kind ─▶ DATA, CREDIT, END on both sides; ABORT ends it for both

A type that is not known is passed over, so that a later version can say more; a kind that is not
known is answered with FAILED.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

from dispatcher.peers.errors import LinkMisused

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of a payload. What may be larger goes in a stream."""
HEAD: Final = Struct("<IBHQ")
_HEAD_BYTES: Final = HEAD.size
_read_head: Final = HEAD.unpack_from


class Type(IntEnum):
    """What a frame is."""

    HELLO = 1
    PING = 2
    TELL = 3
    ASK = 4
    ANSWER = 5
    FAILED = 6
    CANCEL = 7
    OPEN = 8
    DATA = 9
    CREDIT = 10
    END = 11
    ABORT = 12


Frame = tuple[int, int, int, bytes]
"""One frame that was read: its type, which may be one that is not known here, kind, number, and
payload."""


def head_of(type_: int, kind: int, number: int, size_bytes: int) -> bytes:
    """What stands before a payload of so many bytes."""
    return HEAD.pack(size_bytes, type_, kind, number)


class Frames:
    """Cuts what arrives into frames, however it was cut on its way."""

    __slots__ = ("_most_bytes", "_rest")

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._rest = bytearray()

    @property
    def held_bytes(self) -> int:
        """Of a frame that is not whole."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole with these bytes, in order.

        Raises:
            LinkMisused: a frame is larger than any may be; nothing after it can be read.
        """
        source: bytes | bytearray = data
        if self._rest:
            self._rest += data
            source = self._rest
        found: list[Frame] = []
        at, end, most_bytes = 0, len(source), self._most_bytes
        while end - at >= _HEAD_BYTES:
            size, type_, kind, number = _read_head(source, at)
            if size > most_bytes:
                raise LinkMisused(
                    f"a frame of {size} bytes, where {most_bytes} are the most that is read"
                )
            begin = at + _HEAD_BYTES
            if end - begin < size:
                break
            at = begin + size
            found.append((type_, kind, number, bytes(source[begin:at])))
        if source is self._rest:
            del self._rest[:at]
        elif at < end:
            self._rest += data[at:]
        return found
