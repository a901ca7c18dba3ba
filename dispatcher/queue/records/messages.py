"""MESSAGE and MOVED records: accepted requests, and where they are now.

MESSAGE        the fixed fields, the destination's key, the head, and the body or the positions of
               its chunks (u64 each)
MOVED          the state (name, attempts, due instant), the history, and a MESSAGE
MESSAGE_TERMS  the terms (`terms`), and a MESSAGE
MOVED_TERMS    as MOVED, with a MESSAGE_TERMS
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from struct import Struct
from typing import Final

from dispatcher.core.callbacks import BODY_BYTES
from dispatcher.core.destination import Destination, Origin
from dispatcher.core.message import Message
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.kinds import Kind, RecordError
from dispatcher.queue.records.terms import decode_terms, encode_terms, message_at

STORED: Final = frozenset({Kind.MESSAGE, Kind.MOVED, Kind.MESSAGE_TERMS, Kind.MOVED_TERMS})
"""Kinds of records that hold a whole message."""

# kind, incarnation, accepted_at, timeout_ms, destination length, head length, body size, chunk
# count
MESSAGE_FIELDS: Final = Struct("<BIQIHIQI")
_ACCEPTED_AT: Final = Struct("<Q")
_PREFIX: Final = Struct("<BI")
_DESTINATION_SIZE_AT: Final = 17
_PLACE_AT: Final = 31
_COUNT_BYTES: Final = 4
# kind, id position, attempts, redrives, due_at, history length
_STATE: Final = Struct("<BQHHQI")
STATE_BYTES: Final = _STATE.size
"""What a MOVED record takes more than the MESSAGE in it, besides the history."""


def encode_message(message: Message) -> bytes:
    """A MESSAGE payload, or MESSAGE_TERMS. The destination is held as its key,
    `scheme://host[:port]`."""
    if message.terms is not None:
        return encode_terms(message.terms) + _encode_plain(message)
    return _encode_plain(message)


def _encode_plain(message: Message) -> bytes:
    destination = message.destination.key
    chunks = message.chunks
    if chunks is None:
        count, body = 0, message.body
    else:
        count, body = len(chunks), array("Q", chunks).tobytes()
    return b"".join(
        (
            MESSAGE_FIELDS.pack(
                Kind.MESSAGE,
                message.incarnation,
                message.accepted_at,
                message.timeout_ms,
                len(destination),
                len(message.head),
                message.body_size,
                count,
            ),
            destination,
            message.head,
            body,
        )
    )


def message_facts(payload: bytes, start: int = 0) -> tuple[int, bytes, int, int]:
    """Incarnation, destination, bytes of the body that are in chunk records, and their number, of a
    MESSAGE or MESSAGE_TERMS payload.

    Reads no more than a recovery needs: it runs once for every pending message.
    """
    start = message_at(payload, start)
    _, incarnation, _, _, destination_size, _, body_size, chunks = MESSAGE_FIELDS.unpack_from(
        payload, start
    )
    begin = start + MESSAGE_FIELDS.size
    destination = payload[begin : begin + destination_size]
    return incarnation, destination, body_size if chunks else 0, chunks


def prefix_of(data: bytes, start: int) -> bytes:
    """Kind and incarnation of a MESSAGE payload, as they are stored. Of any other payload, however
    short: something else."""
    return data[start : start + _PREFIX.size]


def place_of(data: bytes, start: int) -> bytes:
    """Number of chunks and destination of a MESSAGE payload, as they are stored.

    These and its prefix are the facts that a recovery needs. They are the same bytes in nearly all
    messages that follow each other, so that they need not be decoded for each of them.
    """
    size_at, place = start + _DESTINATION_SIZE_AT, start + _PLACE_AT
    return data[place : place + _COUNT_BYTES + (data[size_at] | data[size_at + 1] << 8)]


def incarnation_in(prefix: bytes) -> int | None:
    """The incarnation in a prefix; None when it is not of a MESSAGE."""
    if len(prefix) < _PREFIX.size or prefix[0] != Kind.MESSAGE:
        return None
    return int(_PREFIX.unpack(prefix)[1])


def destination_in(place: bytes) -> bytes | None:
    """The destination in a place; None when the body is in chunk records."""
    return None if any(place[:_COUNT_BYTES]) else place[_COUNT_BYTES:]


def accepted_at_of(payload: bytes, start: int = 0) -> int:
    """When the message of a MESSAGE or MESSAGE_TERMS payload was accepted, in microseconds since
    the epoch."""
    return int(_ACCEPTED_AT.unpack_from(payload, message_at(payload, start) + 5)[0])


def decode_message(payload: bytes, start: int = 0, known: Destination | None = None) -> Message:
    """The message of a MESSAGE or MESSAGE_TERMS payload that begins at `start`; its `position` is
    not set. `known` is where it goes most likely: then that is not read again."""
    terms = decode_terms(payload, start)
    start = message_at(payload, start)
    kind, incarnation, accepted_at, timeout_ms, destination_size, head_size, body_size, chunks = (
        MESSAGE_FIELDS.unpack_from(payload, start)
    )
    if kind != Kind.MESSAGE:
        raise RecordError(f"kind {kind} where a message was expected")
    head_at = start + MESSAGE_FIELDS.size + destination_size
    body_at = head_at + head_size
    body = payload[body_at:]
    if len(body) != (chunks * 8 if chunks else body_size):
        raise RecordError("the body has another length than the record says")
    key = payload[start + MESSAGE_FIELDS.size : head_at]
    message = Message(
        known if known is not None and known.key == key else _destination(key),
        payload[head_at:body_at],
        b"" if chunks else body,
        timeout_ms=timeout_ms,
        accepted_at=accepted_at,
        incarnation=incarnation,
        chunks=tuple(array("Q", body)) if chunks else None,
        body_size=body_size,
    )
    message.terms = terms
    if terms is not None and terms.calls_back:
        message.want_start(BODY_BYTES)
    return message


@lru_cache(maxsize=4096)
def _destination(key: bytes) -> Destination:
    """The destination with this key: most messages share theirs with many others."""
    return Origin.parse(key).destination


def encode_moved(message: Message, due_at: int) -> bytes:
    """A MOVED payload, or MOVED_TERMS: the whole message with its state, under its old id."""
    return (
        _STATE.pack(
            Kind.MOVED if message.terms is None else Kind.MOVED_TERMS,
            message.position,
            message.attempt,
            message.redrives,
            due_at,
            len(message.history),
        )
        + message.history
        + encode_message(message)
    )


def moved_facts(payload: bytes) -> tuple[int, int, int, int]:
    """Id position, attempts, due instant, and where the message begins, of a MOVED or MOVED_TERMS
    payload."""
    _, position, attempts, _, due_at, history_size = _STATE.unpack_from(payload)
    return position, attempts, due_at, _STATE.size + history_size


def was_redriven(payload: bytes) -> bool:
    """Whether the message of a MOVED or MOVED_TERMS payload was a dead letter before."""
    return bool(_STATE.unpack_from(payload)[3])


def decode_stored(
    position: int, payload: bytes, partition: int, known: Destination | None = None
) -> Message:
    """The message of a payload of one of `STORED` at `position`, ready to be attempted. `known` as
    of `decode_message`."""
    if payload[0] == Kind.MESSAGE or payload[0] == Kind.MESSAGE_TERMS:
        message = decode_message(payload, 0, known)
        message.position = position
    elif payload[0] == Kind.MOVED or payload[0] == Kind.MOVED_TERMS:
        _, origin, attempts, redrives, _, history_size = _STATE.unpack_from(payload)
        message = decode_message(payload, _STATE.size + history_size, known)
        message.position = origin
        message.attempt = attempts
        message.redrives = redrives
        message.history = payload[_STATE.size : _STATE.size + history_size]
    else:
        raise RecordError(f"kind {payload[0]} where a message was expected")
    message.wire_id = wire_id(partition, message.incarnation, message.position)
    return message
