"""The records of the queue: what the payloads in the transaction log and the dead-letter log mean.

The first byte of a payload is its kind. Integers are little endian; lengths are in bytes; instants
are microseconds since the epoch. Positions are those of the transaction log and opaque here. The
layouts (`_MESSAGE`, `_STATE`, …) are format version 1: a kind, once used, never changes its layout;
a new layout gets a new kind, and old kinds are read for ever.

    MESSAGE   an accepted request                        the message exists
    CHUNK     a piece of a body too large to hold        dead until a MESSAGE names its position
    SETTLED   positions of messages that are done        they no longer exist
    RETRY     attempts made, when the next one is due    replaces the RETRY before it
    MOVED     a MESSAGE copied forward, with its state   the message is here now, under its old id
    NOTHING   proof that there is space again
    DEAD      (dead-letter log) a message that was given up, with its whole history
    REMOVED   (dead-letter log) a dead letter that was redriven or purged
    PAUSED    every destination that an operator paused; the newest counts
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from dispatcher.core.destination import Destination, Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure

OVERHEAD_BYTES = 32
"""What a record costs in a log besides its payload, at most; `Committer` fills batches by it."""


class Kind(IntEnum):
    """First byte of every payload."""

    MESSAGE = 1
    CHUNK = 2
    SETTLED = 3
    RETRY = 4
    MOVED = 5
    NOTHING = 6
    DEAD = 7
    REMOVED = 8
    PAUSED = 9


# kind, incarnation, accepted_at, timeout_ms, destination length, head length, body size, chunk
# count
_MESSAGE = Struct("<BIQIHIQI")
# kind, id position, attempts, redrives, due_at, history length
_STATE = Struct("<BQHHQI")
# kind, id position, attempts, due_at, history length, detail length
_RETRY = Struct("<BQHQIH")
# kind, partition, id position, attempts, redrives, dead_at, history length, reason length,
# detail length, response length
_DEAD = Struct("<BHQHHQIHHH")
# kind, partition, incarnation, id position, redrives
_REMOVED = Struct("<BHIQH")
# started_at, duration_ms, status (0: none), failure (0: none, else its number), unused
_ATTEMPT = Struct("<QIHBB")

_FAILURES = tuple(Failure)
_FAILURE_NUMBER = {failure: number for number, failure in enumerate(_FAILURES, 1)}

NOTHING = bytes([Kind.NOTHING])
MAX_DETAIL_BYTES = 512


STATELESS = frozenset({Kind.CHUNK, Kind.NOTHING})
"""Kinds that say nothing by themselves."""


class RecordError(ValueError):
    """A payload is not what its kind says. The log's checksum was right, so a program wrote it
    wrong."""


@dataclass(frozen=True, slots=True)
class Retry:
    """A decoded RETRY record."""

    position: int
    attempts: int
    due_at: int
    history: bytes
    detail: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt, as the history keeps it. `status` and `failure` are None when there was
    none."""

    started_at: int
    duration_ms: int
    status: int | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A decoded DEAD record."""

    partition: int
    message: Message
    dead_at: int
    reason: str
    detail: str
    response_start: bytes


class LetterFacts(NamedTuple):
    """What of a DEAD record is needed to find, list and count its letter.

    `failure` is 0 or the number of the last attempt's failure in `Failure`, from 1; `status` is 0
    when there was none. `chunks` are positions in the dead-letter log, where there are any.
    """

    message_id: bytes
    partition: int
    incarnation: int
    id_position: int
    redrives: int
    dead_at: int
    destination: bytes
    status: int
    failure: int
    reason: str
    body_size: int
    chunks: array[int] | None


def encode_message(message: Message) -> bytes:
    """A MESSAGE payload. The destination is held as its key, `scheme://host[:port]`."""
    destination = message.destination.key
    chunks = message.chunks
    if chunks is None:
        count, body = 0, message.body
    else:
        count, body = len(chunks), array("Q", chunks).tobytes()
    return b"".join(
        (
            _MESSAGE.pack(
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


def message_facts(payload: bytes, start: int = 0) -> tuple[bytes, int, int]:
    """Destination, bytes of the body that are in chunk records, and their number, of a MESSAGE
    payload.

    Reads no more than a recovery needs: it runs once for every pending message.
    """
    _, _, _, _, destination_size, _, body_size, chunks = _MESSAGE.unpack_from(payload, start)
    begin = start + _MESSAGE.size
    return payload[begin : begin + destination_size], body_size if chunks else 0, chunks


def decode_message(payload: bytes, start: int = 0) -> Message:
    """The message of a MESSAGE payload that begins at `start`; its `position` is not set."""
    kind, incarnation, accepted_at, timeout_ms, destination_size, head_size, body_size, chunks = (
        _MESSAGE.unpack_from(payload, start)
    )
    if kind != Kind.MESSAGE:
        raise RecordError(f"kind {kind} where a message was expected")
    head_at = start + _MESSAGE.size + destination_size
    body_at = head_at + head_size
    body = payload[body_at:]
    if len(body) != (chunks * 8 if chunks else body_size):
        raise RecordError("the body has another length than the record says")
    return Message(
        _destination(payload[start + _MESSAGE.size : head_at]),
        payload[head_at:body_at],
        b"" if chunks else body,
        timeout_ms=timeout_ms,
        accepted_at=accepted_at,
        incarnation=incarnation,
        chunks=tuple(array("Q", body)) if chunks else None,
        body_size=body_size,
    )


@lru_cache(maxsize=4096)
def _destination(key: bytes) -> Destination:
    """The destination with this key: most messages share theirs with many others."""
    return Origin.parse(key).destination


def encode_chunk(data: bytes) -> bytes:
    """A CHUNK payload."""
    return b"\x02" + data


def decode_chunk(payload: bytes) -> bytes:
    """The data of a CHUNK payload."""
    if payload[0] != Kind.CHUNK:
        raise RecordError(f"kind {payload[0]} where a chunk was expected")
    return payload[1:]


def encode_settled(positions: array[int]) -> bytes:
    """A SETTLED payload for messages with these id positions (an `array("Q")`)."""
    return b"\x03" + positions.tobytes()


def decode_settled(payload: bytes) -> array[int]:
    """The id positions of a SETTLED payload."""
    return array("Q", payload[1:])


def encode_retry(message: Message, due_at: int, detail: str) -> bytes:
    """A RETRY payload: `message.attempt` attempts are made and in `message.history`."""
    text = detail.encode("utf-8", "replace")[:MAX_DETAIL_BYTES]
    return (
        _RETRY.pack(
            Kind.RETRY,
            message.position,
            message.attempt,
            due_at,
            len(message.history),
            len(text),
        )
        + message.history
        + text
    )


def retry_facts(payload: bytes) -> tuple[int, int, int]:
    """Id position, attempts and due instant of a RETRY payload."""
    _, position, attempts, due_at, _, _ = _RETRY.unpack_from(payload)
    return position, attempts, due_at


def decode_retry(payload: bytes) -> Retry:
    """A whole RETRY payload."""
    kind, position, attempts, due_at, history_size, detail_size = _RETRY.unpack_from(payload)
    if kind != Kind.RETRY or len(payload) != _RETRY.size + history_size + detail_size:
        raise RecordError("not a retry record")
    detail_at = _RETRY.size + history_size
    return Retry(
        position,
        attempts,
        due_at,
        payload[_RETRY.size : detail_at],
        payload[detail_at:].decode("utf-8", "replace"),
    )


def encode_moved(message: Message, due_at: int) -> bytes:
    """A MOVED payload: the whole message with its state, under its old id."""
    return (
        _STATE.pack(
            Kind.MOVED,
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
    """Id position, attempts, due instant, and where the MESSAGE begins, of a MOVED payload."""
    _, position, attempts, _, due_at, history_size = _STATE.unpack_from(payload)
    return position, attempts, due_at, _STATE.size + history_size


def decode_stored(position: int, payload: bytes, partition: int) -> Message:
    """The message of a MESSAGE or MOVED payload stored at `position`, ready to be attempted."""
    if payload[0] == Kind.MESSAGE:
        message = decode_message(payload)
        message.position = position
    elif payload[0] == Kind.MOVED:
        _, origin, attempts, redrives, _, history_size = _STATE.unpack_from(payload)
        message = decode_message(payload, _STATE.size + history_size)
        message.position = origin
        message.attempt = attempts
        message.redrives = redrives
        message.history = payload[_STATE.size : _STATE.size + history_size]
    else:
        raise RecordError(f"kind {payload[0]} where a message was expected")
    message.wire_id = wire_id(partition, message.incarnation, message.position)
    return message


def encode_dead(letter: DeadLetter) -> bytes:
    """A DEAD payload. `letter.message.chunks`, if any, are positions in the dead-letter log."""
    message = letter.message
    reason = letter.reason.encode("ascii")
    detail = letter.detail.encode("utf-8", "replace")[:MAX_DETAIL_BYTES]
    return b"".join(
        (
            _DEAD.pack(
                Kind.DEAD,
                letter.partition,
                message.position,
                message.attempt,
                message.redrives,
                letter.dead_at,
                len(message.history),
                len(reason),
                len(detail),
                len(letter.response_start),
            ),
            message.history,
            reason,
            detail,
            letter.response_start,
            encode_message(message),
        )
    )


def decode_dead(payload: bytes) -> DeadLetter:
    """A whole DEAD payload."""
    (
        kind,
        partition,
        position,
        attempts,
        redrives,
        dead_at,
        history_size,
        reason_size,
        detail_size,
        response_size,
    ) = _DEAD.unpack_from(payload)
    if kind != Kind.DEAD:
        raise RecordError(f"kind {kind} where a dead letter was expected")
    reason_at = _DEAD.size + history_size
    detail_at = reason_at + reason_size
    response_at = detail_at + detail_size
    message = decode_message(payload, response_at + response_size)
    message.position = position
    message.attempt = attempts
    message.redrives = redrives
    message.history = payload[_DEAD.size : reason_at]
    message.wire_id = wire_id(partition, message.incarnation, position)
    return DeadLetter(
        partition,
        message,
        dead_at,
        payload[reason_at:detail_at].decode("ascii"),
        payload[detail_at:response_at].decode("utf-8", "replace"),
        payload[response_at : response_at + response_size],
    )


def letter_facts(payload: bytes) -> LetterFacts:
    """The facts of a DEAD payload. Runs once for every dead letter at a start, so it does not make
    the message."""
    (
        kind,
        partition,
        position,
        _,
        redrives,
        dead_at,
        history_size,
        reason_size,
        detail_size,
        response_size,
    ) = _DEAD.unpack_from(payload)
    if kind != Kind.DEAD:
        raise RecordError(f"kind {kind} where a dead letter was expected")
    reason_at = _DEAD.size + history_size
    status = failure = 0
    if history_size:
        _, _, status, failure, _ = _ATTEMPT.unpack_from(payload, reason_at - _ATTEMPT.size)
    detail_at = reason_at + reason_size
    message_at = detail_at + detail_size + response_size
    _, incarnation, _, _, destination_size, _, body_size, chunks = _MESSAGE.unpack_from(
        payload, message_at
    )
    destination_at = message_at + _MESSAGE.size
    return LetterFacts(
        wire_id(partition, incarnation, position),
        partition,
        incarnation,
        position,
        redrives,
        dead_at,
        payload[destination_at : destination_at + destination_size],
        status,
        failure,
        payload[reason_at:detail_at].decode("ascii"),
        body_size,
        array("Q", payload[-8 * chunks :]) if chunks else None,
    )


def encode_removed(partition: int, incarnation: int, position: int, redrives: int) -> bytes:
    """A REMOVED payload: the dead letter with this id, dead for the `redrives`-th time, is gone."""
    return _REMOVED.pack(Kind.REMOVED, partition, incarnation, position, redrives)


def decode_removed(payload: bytes) -> tuple[int, int, int, int]:
    """Partition, incarnation, id position and redrives of a REMOVED payload."""
    _, partition, incarnation, position, redrives = _REMOVED.unpack(payload)
    return partition, incarnation, position, redrives


def encode_paused(keys: Iterable[bytes]) -> bytes:
    """A PAUSED payload: the keys of destinations, `scheme://host[:port]`."""
    return bytes([Kind.PAUSED]) + b"\n".join(sorted(keys))


def decode_paused(payload: bytes) -> list[bytes]:
    """The keys of a PAUSED payload."""
    return payload[1:].split(b"\n") if len(payload) > 1 else []


def encode_attempt(started_at: int, result: AttemptResult) -> bytes:
    """One finished attempt, to be put at the end of a history."""
    return _ATTEMPT.pack(
        started_at,
        min(result.duration_ms, 0xFFFFFFFF),
        result.status or 0,
        0 if result.failure is None else _FAILURE_NUMBER[result.failure],
        0,
    )


def decode_history(history: bytes) -> list[Attempt]:
    """The finished attempts, first to last."""
    return [
        Attempt(started, duration, status or None, _FAILURES[failure - 1] if failure else None)
        for started, duration, status, failure, _ in _ATTEMPT.iter_unpack(history)
    ]


def last_attempt(history: bytes) -> Attempt | None:
    """The last finished attempt, None before the first."""
    return decode_history(history[-_ATTEMPT.size :])[0] if history else None


def wire_id(partition: int, incarnation: int, position: int) -> bytes:
    """The id of a message as callers and destinations see it: 28 hexadecimal digits."""
    return b"%04x%08x%016x" % (partition, incarnation, position)
