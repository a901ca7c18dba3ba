"""How a connection ends without taking the last answer away from the caller.

Closing a socket with unread bytes resets it, and the caller would see the reset instead of the
answer (RFC 9112 section 9.6). So the sending side is closed first, and what still arrives is read
and dropped, until the caller closes its side too, has been quiet for a while, or takes too long.
"""

from __future__ import annotations

from typing import Final

_MAX_DISCARDED_BYTES: Final = 256 * 1024 * 1024
_QUIET_S: Final = 2.0
_LONGEST_S: Final = 10.0


class Closing:
    """The end of one connection, from its last request on.

    `lingers` says that the caller may still be sending. It becomes true when something arrives.
    """

    __slots__ = ("_discarded_bytes", "_heard_at_s", "_until_s", "lingers")

    def __init__(self, *, lingers: bool) -> None:
        self.lingers = lingers
        self._discarded_bytes = 0
        self._heard_at_s = 0.0
        self._until_s = 0.0

    def begin_lingering(self, now_s: float) -> None:
        """The last answer is written."""
        self._heard_at_s = now_s
        self._until_s = now_s + _LONGEST_S

    def discard(self, size_bytes: int, now_s: float) -> None:
        """Bytes after the last request arrived."""
        self.lingers = True
        self._heard_at_s = now_s
        self._discarded_bytes += size_bytes

    @property
    def is_flooded(self) -> bool:
        """Whether the caller sends more than anybody should have to drop."""
        return self._discarded_bytes > _MAX_DISCARDED_BYTES

    def is_over(self, now_s: float) -> bool:
        """Whether the caller had time enough to read its answer."""
        return now_s - self._heard_at_s > _QUIET_S or now_s > self._until_s
