"""PAUSED records: every destination that an operator paused, by its key.

The kind, and the keys in ascending order with a line feed between them.
"""

from __future__ import annotations

from collections.abc import Iterable

from dispatcher.queue.records.kinds import Kind


def encode_paused(keys: Iterable[bytes]) -> bytes:
    """A PAUSED payload: the keys of destinations, `scheme://host[:port]`."""
    return bytes([Kind.PAUSED]) + b"\n".join(sorted(keys))


def decode_paused(payload: bytes) -> list[bytes]:
    """The keys of a PAUSED payload."""
    return payload[1:].split(b"\n") if len(payload) > 1 else []
