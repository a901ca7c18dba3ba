"""RETRY records: what is known of a message that waits for its next attempt.

The fixed fields, the history (`history`), and the text that says why the last attempt failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from dispatcher.core.message import Message
from dispatcher.queue.records.kinds import MAX_DETAIL_BYTES, Kind, RecordError

# kind, incarnation, id position, attempts, due_at, history length, detail length
_RETRY: Final = Struct("<BIQHQIH")
# the same without the incarnation
_RETRY_V1: Final = Struct("<BQHQIH")


@dataclass(frozen=True, slots=True)
class Retry:
    """A decoded RETRY record. `incarnation` is None in one of version 1."""

    incarnation: int | None
    position: int
    attempts: int
    due_at: int
    history: bytes
    detail: str


def encode_retry(message: Message, due_at: int, detail: str) -> bytes:
    """A RETRY payload: `message.attempt` attempts are made and in `message.history`."""
    text = detail.encode("utf-8", "replace")[:MAX_DETAIL_BYTES]
    return (
        _RETRY.pack(
            Kind.RETRY,
            message.incarnation,
            message.position,
            message.attempt,
            due_at,
            len(message.history),
            len(text),
        )
        + message.history
        + text
    )


def retry_facts(payload: bytes) -> tuple[int | None, int, int, int]:
    """Incarnation (None: version 1), id position, attempts and due instant of a RETRY payload."""
    if payload[0] == Kind.RETRY_V1:
        _, position, attempts, due_at, _, _ = _RETRY_V1.unpack_from(payload)
        return None, position, attempts, due_at
    _, incarnation, position, attempts, due_at, _, _ = _RETRY.unpack_from(payload)
    return incarnation, position, attempts, due_at


def decode_retry(payload: bytes) -> Retry:
    """A whole RETRY payload."""
    if payload[0] == Kind.RETRY_V1:
        size = _RETRY_V1.size
        _, position, attempts, due_at, history_size, detail_size = _RETRY_V1.unpack_from(payload)
        incarnation = None
    elif payload[0] == Kind.RETRY:
        size = _RETRY.size
        _, incarnation, position, attempts, due_at, history_size, detail_size = _RETRY.unpack_from(
            payload
        )
    else:
        raise RecordError(f"kind {payload[0]} where a retry was expected")
    if len(payload) != size + history_size + detail_size:
        raise RecordError("a retry has another length than its record says")
    detail_at = size + history_size
    return Retry(
        incarnation,
        position,
        attempts,
        due_at,
        payload[size:detail_at],
        payload[detail_at:].decode("utf-8", "replace"),
    )
