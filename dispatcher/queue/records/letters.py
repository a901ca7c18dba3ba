"""DEAD records: messages that were given up, with all that is known of them.

The fixed fields, the history (`history`), reason, detail, the start of the last response, and a
MESSAGE (`messages`) whose chunks, if any, are in the dead-letter log. In DEAD_TERMS it is a
MESSAGE_TERMS. DEAD_OPERATOR holds either, and its reason is one that versions before 0.4 do not
know, so that they refuse the log.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final, NamedTuple

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.core.verdict import DeadReason
from dispatcher.queue.records.history import (
    ATTEMPT_FIELDS,
    FAILURE_NUMBER,
    Attempt,
    last_attempt,
)
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.kinds import MAX_DETAIL_BYTES, Kind, RecordError
from dispatcher.queue.records.messages import MESSAGE_FIELDS, decode_message, encode_message
from dispatcher.queue.records.terms import decode_terms, message_at

# kind, partition, id position, attempts, redrives, dead_at, history length, reason length,
# detail length, response length
_DEAD_V1: Final = Struct("<BHQHHQIHHH")
# the same, and the log's uptime
_DEAD: Final = Struct("<BHQHHQIHHHI")
UPTIME_BYTES: Final = _DEAD.size - _DEAD_V1.size
"""What a letter of version 0.1 takes more when it is written again."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A decoded DEAD record. `uptime_s` is the dead-letter log's uptime at the death."""

    partition: int
    message: Message
    dead_at: int
    reason: str
    detail: str
    response_start: bytes
    uptime_s: int = 0

    @property
    def id(self) -> bytes:
        """The id of its message."""
        return self.message.wire_id

    @property
    def redrives(self) -> int:
        """How often its message had been redriven before."""
        return self.message.redrives

    @property
    def body(self) -> bytes:
        """As of `Message`, like the next two."""
        return self.message.body

    @property
    def body_size(self) -> int:
        return self.message.body_size

    @property
    def chunks(self) -> tuple[int, ...] | None:
        return self.message.chunks

    def with_chunks(self, chunks: tuple[int, ...]) -> DeadLetter:
        """The same with its body in other chunk records."""
        return replace(self, message=self.message.with_chunks(chunks))


PLACE_END: Final = b"\0"
"""Between the endpoint and the function of a dead call, in `LetterFacts.destination`; and before
the type of its error, in the index of letters."""
CALL_ERRORS: Final = 64
"""From here on `LetterFacts.failure` is the status that a call ended with."""


class LetterFacts(NamedTuple):
    """What of a DEAD or DEAD_CALL record is needed to find, list and count its letter.

    `destination` is that of a message; of a call it is endpoint, PLACE_END and function, in UTF-8.
    `failure` is 0, or the number of the last attempt's failure in `Failure`, from 1, or above
    CALL_ERRORS the protocol's number of the status that a call ended with; `status` is 0 when there
    was none. `chunks` are positions in the dead-letter log, where there are any. `error_type` is
    that of a call which an error of its application ended: its `failure` is 0. `label` and
    `order_key` are those of a message, "" where there is none.
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
    uptime_s: int
    error_type: str = ""
    label: str = ""
    order_key: str = ""


def encode_dead(letter: DeadLetter) -> bytes:
    """A DEAD payload, DEAD_TERMS or DEAD_OPERATOR. `letter.message.chunks`, if any, are positions
    in the dead-letter log."""
    message = letter.message
    reason = letter.reason.encode("ascii")
    detail = letter.detail.encode("utf-8", "replace")[:MAX_DETAIL_BYTES]
    return b"".join(
        (
            _DEAD.pack(
                _kind_of(letter),
                letter.partition,
                message.position,
                message.attempt,
                message.redrives,
                letter.dead_at,
                len(message.history),
                len(reason),
                len(detail),
                len(letter.response_start),
                letter.uptime_s,
            ),
            message.history,
            reason,
            detail,
            letter.response_start,
            encode_message(message),
        )
    )


def _kind_of(letter: DeadLetter) -> Kind:
    if letter.reason == DeadReason.OPERATOR.value:
        return Kind.DEAD_OPERATOR
    return Kind.DEAD if letter.message.terms is None else Kind.DEAD_TERMS


def decode_dead(payload: bytes) -> DeadLetter:
    """A whole DEAD payload."""
    (
        (
            partition,
            position,
            attempts,
            redrives,
            dead_at,
            history_size,
            reason_size,
            detail_size,
            response_size,
            uptime_s,
        ),
        history_at,
    ) = _dead_fields(payload)
    reason_at = history_at + history_size
    detail_at = reason_at + reason_size
    response_at = detail_at + detail_size
    message = decode_message(payload, response_at + response_size)
    message.position = position
    message.attempt = attempts
    message.redrives = redrives
    message.history = payload[history_at:reason_at]
    message.wire_id = wire_id(partition, message.incarnation, position)
    return DeadLetter(
        partition,
        message,
        dead_at,
        payload[reason_at:detail_at].decode("ascii"),
        payload[detail_at:response_at].decode("utf-8", "replace"),
        payload[response_at : response_at + response_size],
        uptime_s,
    )


def letter_facts(payload: bytes) -> LetterFacts:
    """The facts of a DEAD payload. Runs once for every dead letter at a start, so it does not make
    the message."""
    (
        (
            partition,
            position,
            _,
            redrives,
            dead_at,
            history_size,
            reason_size,
            detail_size,
            response_size,
            uptime_s,
        ),
        history_at,
    ) = _dead_fields(payload)
    reason_at = history_at + history_size
    status = failure = 0
    if history_size:
        _, _, status, failure, _ = ATTEMPT_FIELDS.unpack_from(
            payload, reason_at - ATTEMPT_FIELDS.size
        )
    detail_at = reason_at + reason_size
    reason = payload[reason_at:detail_at].decode("ascii")
    if reason == DeadReason.EXPIRED.value:
        status, failure = 0, FAILURE_NUMBER[Failure.EXPIRED]
    stored_at = detail_at + detail_size + response_size
    terms = decode_terms(payload, stored_at)
    begins_at = message_at(payload, stored_at)
    _, incarnation, _, _, destination_size, _, body_size, chunks = MESSAGE_FIELDS.unpack_from(
        payload, begins_at
    )
    destination_at = begins_at + MESSAGE_FIELDS.size
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
        reason,
        body_size,
        array("Q", payload[-8 * chunks :]) if chunks else None,
        uptime_s,
        label="" if terms is None else terms.label,
        order_key="" if terms is None else terms.order_key,
    )


def last_of(letter: DeadLetter) -> Attempt | None:
    """What a letter's last status and error are of: its last attempt, or that it expired."""
    if letter.reason == DeadReason.EXPIRED.value:
        return Attempt(letter.dead_at, 0, None, Failure.EXPIRED)
    return last_attempt(letter.message.history)


def _dead_fields(payload: bytes) -> tuple[tuple[int, ...], int]:
    """The fixed fields of a DEAD payload without its kind, and where its history begins. Version 1
    knew no uptime: 0."""
    kind = payload[0]
    if kind == Kind.DEAD or kind == Kind.DEAD_TERMS or kind == Kind.DEAD_OPERATOR:
        return _DEAD.unpack_from(payload)[1:], _DEAD.size
    if kind == Kind.DEAD_V1:
        return (*_DEAD_V1.unpack_from(payload)[1:], 0), _DEAD_V1.size
    raise RecordError(f"kind {kind} where a dead letter was expected")
