"""CHUNK records: pieces of a body that is too large to hold in memory.

A chunk is its kind and the data. The MESSAGE or DEAD record that has the body names the positions
of its chunks.
"""

from __future__ import annotations

from dispatcher.queue.records.kinds import Kind, RecordError


def encode_chunk(data: bytes) -> bytes:
    """A CHUNK payload."""
    return b"\x02" + data


def decode_chunk(payload: bytes) -> bytes:
    """The data of a CHUNK payload."""
    if payload[0] != Kind.CHUNK:
        raise RecordError(f"kind {payload[0]} where a chunk was expected")
    return payload[1:]
