"""Names of calls: keys in memory and in the log, ids on the wire.

A key is `incarnation << 64 | number`, with 32 and 64 bits. The highest bit of a number is set, so
that no message ever has the id of a call. Numbers grow, also over restarts: they count up from the
end of the log, and every call takes more than a byte there.
"""

from __future__ import annotations

import re
from typing import Final

from dispatcher.queue.records.ids import wire_id

_NUMBER: Final = (1 << 64) - 1
_CALLS: Final = 1 << 63
_ID: Final = re.compile(r"[0-9a-f]{28}")


def call_id(partition: int, key: int) -> str:
    """The id of a call on the wire: 28 hexadecimal digits."""
    return wire_id(partition, key >> 64, key & _NUMBER).decode("ascii")


def id_beside(other: str, key: int) -> str:
    """The id of a call of the same partition as another one."""
    return call_id(int(other[:4], 16), key)


def parse_id(text: str) -> int | None:
    """The key in an id on the wire, or None: no call has such an id."""
    if not _ID.fullmatch(text):
        return None
    key = int(text[4:], 16)
    return key if key & _CALLS else None


def number_of(key: int) -> int:
    """Its number: of two keys of one log, the newer one has the higher."""
    return key & _NUMBER


class Keys:
    """Makes keys."""

    __slots__ = ("_last",)

    def __init__(self, incarnation: int, log_end: int) -> None:
        """`incarnation` of this process; `log_end` is where the log ended when it was opened."""
        self._last = incarnation << 64 | _CALLS | log_end

    def next(self) -> int:
        """A key that no call ever had."""
        self._last += 1
        return self._last
