"""Reads the heads of one connection: those that come in pieces, and those that repeat.

Most heads arrive whole and look like the one before; these cost one comparison (`pattern`). One
that is not whole waits in a buffer of its own, is counted, and is refused as soon as no further
byte can make it right: a wrong key is seen when its line is there, and not when the head is.
"""

from __future__ import annotations

from typing import Final

from dispatcher.core.keys import Keyring
from dispatcher.core.options import KEY
from dispatcher.ingress import refusals
from dispatcher.ingress.entrance import Entrance, password_of
from dispatcher.ingress.forward import Forward, check_key
from dispatcher.ingress.head import Head, is_broken
from dispatcher.ingress.memory import Held, Memory
from dispatcher.ingress.pattern import MAX_MISSES, Pattern, pattern_of
from dispatcher.ingress.refusals import MAX_HEAD_BYTES, MalformedError, UnacceptableError

HEAD_END: Final = b"\r\n\r\n"
_KEY: Final = KEY.name
_PROXY_AUTHORIZATION: Final = b"proxy-authorization"
_MAX_EMPTY_LINES: Final = 4  # before a request line; RFC 9112 section 2.2 asks for one at least


class Heads:
    """What one connection knows about its heads.

    `pattern`      the last head, if the next may be like it.
    `misses`       heads in a row that were not like the one before; whoever finds one that is sets
                   it to 0.
    `empty_lines`  before the request that is to come; whoever has read one sets it to 0.
    """

    __slots__ = (
        "_buffer",
        "_entrance",
        "_has_shown_key",
        "_held",
        "_keys",
        "_line_at",
        "_memory",
        "empty_lines",
        "misses",
        "pattern",
    )

    def __init__(self, memory: Memory, keys: Keyring, entrance: Entrance) -> None:
        """`memory` counts what is not whole; `keys` are those that callers may show."""
        self.pattern: Pattern | None = None
        self.misses = 0
        self.empty_lines = 0
        self._memory = memory
        self._keys = keys
        self._entrance = entrance
        self._buffer = bytearray()
        self._held: Held | None = None
        self._line_at = 0  # where the first line begins that was not looked at
        self._has_shown_key = False

    # Heads that repeat.

    def remember(self, raw: bytes, head: Head, wanted: Forward) -> None:
        """Keep a head as the pattern of the next one, unless this caller's differ each time."""
        if self.misses < MAX_MISSES:
            self.misses += 1
            self.pattern = pattern_of(raw, head, wanted)
        else:
            self.pattern = None

    # Empty lines before a request.

    def skip_empty_line(self) -> None:
        """There was an empty line where a request was to begin.

        Raises:
            MalformedError: there were too many of them.
        """
        self.empty_lines += 1
        if self.empty_lines > _MAX_EMPTY_LINES:
            raise MalformedError(refusals.REQUEST_LINE)

    # Heads that come in pieces.

    @property
    def is_for_head(self) -> bool:
        """Whether the unfinished head is that of a HEAD request, whose answer has no body."""
        return self._buffer.startswith(b"HEAD ")

    @property
    def is_of_a_stranger(self) -> bool:
        """Whether a key is needed and the unfinished head has not shown a valid one yet."""
        return not self._keys.is_open and not self._has_shown_key

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the unfinished head."""
        return len(self._buffer)

    def add(self, data: bytes) -> bytes:
        """Keep the next piece of a head; return everything that was kept once the head is whole,
        and b"" until then.

        Raises:
            RequestError: no further byte can make it right, or there is no memory for it.
        """
        buffer = self._buffer
        seen = len(buffer)
        buffer += data
        if buffer.find(HEAD_END, max(seen - 3, 0)) >= 0:
            whole = bytes(buffer)
            self.drop()
            return whole
        if is_broken(buffer, seen):
            raise MalformedError(refusals.HEADER)
        if len(buffer) > MAX_HEAD_BYTES:
            raise MalformedError(refusals.HEAD_TOO_LARGE)
        if self.is_of_a_stranger:
            self._look_for_key(seen)
        held = self._held
        if held is None:
            held = self._held = Held(self._memory)
        if not held.grow(len(data)):
            raise UnacceptableError(refusals.MEMORY)
        return b""

    def drop(self) -> None:
        """Forget the unfinished head. Idempotent."""
        self._buffer.clear()
        self._line_at = 0
        self._has_shown_key = False
        if self._held is not None:
            self._held.end()
            self._held = None

    def _look_for_key(self, seen: int) -> None:
        """Search the lines that have become complete since the last call."""
        buffer = self._buffer
        end = buffer.rfind(b"\r\n", max(seen - 1, 0))
        if end < 0:
            return
        for line in bytes(buffer[self._line_at : end]).split(b"\r\n"):
            name, _, value = line.partition(b":")
            lower = name.lower()
            if lower == _KEY:
                check_key(value.strip(b" \t"), self._keys, self._entrance)
                self._has_shown_key = True
            elif lower == _PROXY_AUTHORIZATION and self._entrance.is_proxy:
                # A wrong one is not the end: a header of ours may follow, and wins.
                self._has_shown_key |= self._keys.find(password_of(value)) is not None
        self._line_at = end + 2
