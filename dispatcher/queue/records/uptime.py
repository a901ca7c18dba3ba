"""UPTIME records: how long the dead-letter log has been open, all processes together."""

from __future__ import annotations

from struct import Struct
from typing import Final

from dispatcher.queue.records.kinds import Kind

# kind, seconds
_UPTIME: Final = Struct("<BI")


def encode_uptime(seconds: int) -> bytes:
    """An UPTIME payload."""
    return _UPTIME.pack(Kind.UPTIME, seconds)


def decode_uptime(payload: bytes) -> int:
    """The seconds of an UPTIME payload."""
    _, seconds = _UPTIME.unpack(payload)
    return int(seconds)
