"""What is asked of another process, and what it answers, as the payload of a frame. Pure.

    length u32 | head | data

The length is the head's: JSON, an object, of which what is not known is passed over. The data are
what the head says: arguments, or a part of a row of items (`Items`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from struct import Struct
from struct import error as struct_error
from typing import Any, Final

from dispatcher.peers.errors import LinkMisused

_LENGTH: Final = Struct("<I")


def wrap(head: Mapping[str, Any], data: bytes = b"") -> bytes:
    """As one payload."""
    written = json.dumps(head).encode("ascii")
    return b"".join((_LENGTH.pack(len(written)), written, data))


def unwrap(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Head and data.

    Raises:
        LinkMisused: it is no such payload.
    """
    try:
        (size,) = _LENGTH.unpack_from(payload)
        begin = _LENGTH.size
        head = json.loads(payload[begin : begin + size])
    except (ValueError, RecursionError, struct_error) as error:
        raise LinkMisused("a question or an answer cannot be read") from error
    if not isinstance(head, dict):
        raise LinkMisused("a question or an answer has no head")
    return head, payload[begin + size :]


class Items:
    """Items in a row of bytes, each behind its length: however the row is cut into answers, they
    come out whole."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @staticmethod
    def written(item: bytes) -> bytes:
        """One, as it is in the row."""
        return _LENGTH.pack(len(item)) + item

    def feed(self, data: bytes) -> list[bytes]:
        """Those that are whole by now."""
        self._rest += data
        found: list[bytes] = []
        at = 0
        while len(self._rest) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._rest, at)
            begin = at + _LENGTH.size
            if len(self._rest) - begin < size:
                break
            at = begin + size
            found.append(bytes(self._rest[begin:at]))
        del self._rest[:at]
        return found
