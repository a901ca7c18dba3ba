"""DEAD_CALL records: root calls that were given up, with their input.

The fixed fields, the history (`history`, in each attempt the status of the call in its last byte),
endpoint, function, version, application, type and text of the last error, and the input or the
positions of its chunks (u64 each) in the dead-letter log.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final

from dispatcher.core.calls import CallReason, error_word, status_word
from dispatcher.core.outcome import Failure
from dispatcher.queue.records.history import FAILURE_NUMBER
from dispatcher.queue.records.ids import id_parts, wire_id
from dispatcher.queue.records.kinds import MAX_DETAIL_BYTES, Kind, RecordError
from dispatcher.queue.records.letters import CALL_ERRORS, PLACE_END, LetterFacts

# kind, partition, incarnation, number, redrives, attempts, dead_at, created_at, expiration_us,
# correlation, timeout_ms, uptime_s, reason, status, history length, lengths of endpoint, function,
# version, application, error type and detail, input size, chunk count
_DEAD_CALL: Final = Struct("<BHIQHIQQQQIIBBIHHHHHHII")

MAX_NAME_BYTES: Final = 4096
"""What is kept of an endpoint, a function, a version or an application's name."""
MAX_ERROR_TYPE_BYTES: Final = 256
_MOST_ATTEMPTS: Final = 0xFFFFFFFF
_MOST_TIMEOUT_MS: Final = 0xFFFFFFFF
_MOST_STATUS: Final = 0xFF - CALL_ERRORS

_REASONS: Final = (CallReason.EXPIRED, CallReason.FAILED)
"""What a reason is stored as: its place here, from 1."""


@dataclass(frozen=True, slots=True)
class CallLetter:
    """A root call that was given up.

    `id`           the call's on the wire, 28 hexadecimal digits in ASCII; the top bit of its number
                   is set, so no message ever has it.
    `endpoint`, `function`, `version`  what was called: of the last tail call, where there was one.
    `application`  name of the API key that it was dispatched with.
    `correlation`  as it was dispatched, 64 bits without a sign.
    `created_at`, `dead_at`  microseconds since the epoch.
    `expiration_us`  for how long it might take; one that is redriven gets as long again.
    `timeout_ms`   of one run; 0: the setting.
    `reason`, `status`  why it died; `status` is the protocol's number, 0: the application made an
                   error, which has the type `error_type`.
    `error_type`, `detail`  the last error, as the application named it, and in words.
    `attempts`, `history`  runs that were made, and what is known of the last ones, encoded by
                   `history`.
    `redrives`     how often it had been redriven, as far as whoever buries it knows.
    `body`         its input: a serialized Any; b"" where `chunks` are not None, which are positions
                   in the dead-letter log. `body_size` are the bytes of all of it.
    `uptime_s`     the dead-letter log's at the death.
    """

    id: bytes
    endpoint: str
    function: str
    version: str
    application: str
    correlation: int
    created_at: int
    expiration_us: int
    timeout_ms: int
    dead_at: int
    reason: CallReason
    status: int
    error_type: str
    detail: str
    attempts: int
    history: bytes = b""
    redrives: int = 0
    body: bytes = b""
    body_size: int = 0
    chunks: tuple[int, ...] | None = None
    uptime_s: int = 0

    @property
    def error(self) -> str:
        """What it came to, in one word: that it expired, its status, or the type of the error that
        the application made."""
        if self.reason is CallReason.EXPIRED:
            return Failure.EXPIRED.value
        return status_word(self.status) if self.status else error_word(self.error_type)

    def with_chunks(self, chunks: tuple[int, ...]) -> CallLetter:
        """The same with its input in other chunk records."""
        return replace(self, body=b"", chunks=chunks)


def encode_call(letter: CallLetter) -> bytes:
    """A DEAD_CALL payload."""
    partition, incarnation, number = id_parts(letter.id)
    names = [
        _cut(text, MAX_NAME_BYTES)
        for text in (letter.endpoint, letter.function, letter.version, letter.application)
    ]
    names += [_cut(letter.error_type, MAX_ERROR_TYPE_BYTES), _cut(letter.detail, MAX_DETAIL_BYTES)]
    chunks = letter.chunks
    return b"".join(
        (
            _DEAD_CALL.pack(
                Kind.DEAD_CALL,
                partition,
                incarnation,
                number,
                letter.redrives,
                min(letter.attempts, _MOST_ATTEMPTS),
                letter.dead_at,
                letter.created_at,
                letter.expiration_us,
                letter.correlation,
                min(letter.timeout_ms, _MOST_TIMEOUT_MS),
                letter.uptime_s,
                _REASONS.index(letter.reason) + 1,
                min(letter.status, _MOST_STATUS),
                len(letter.history),
                *map(len, names),
                letter.body_size,
                0 if chunks is None else len(chunks),
            ),
            letter.history,
            *names,
            letter.body if chunks is None else array("Q", chunks).tobytes(),
        )
    )


def decode_call(payload: bytes) -> CallLetter:
    """A whole DEAD_CALL payload."""
    (
        kind,
        partition,
        incarnation,
        number,
        redrives,
        attempts,
        dead_at,
        created_at,
        expiration_us,
        correlation,
        timeout_ms,
        uptime_s,
        reason,
        status,
        history_size,
        *name_sizes,
        body_size,
        chunks,
    ) = _DEAD_CALL.unpack_from(payload)
    if kind != Kind.DEAD_CALL:
        raise RecordError(f"kind {kind} where a dead call was expected")
    at = _DEAD_CALL.size + history_size
    history = payload[_DEAD_CALL.size : at]
    names = []
    for size in name_sizes:
        names.append(payload[at : at + size].decode("utf-8", "replace"))
        at += size
    body = payload[at:]
    if len(body) != (chunks * 8 if chunks else body_size):
        raise RecordError("the input has another length than the record says")
    endpoint, function, version, application, error_type, detail = names
    return CallLetter(
        wire_id(partition, incarnation, number),
        endpoint,
        function,
        version,
        application,
        correlation,
        created_at,
        expiration_us,
        timeout_ms,
        dead_at,
        _reason(reason),
        status,
        error_type,
        detail,
        attempts,
        history,
        redrives,
        b"" if chunks else body,
        body_size,
        tuple(array("Q", body)) if chunks else None,
        uptime_s,
    )


def call_facts(payload: bytes) -> LetterFacts:
    """The facts of a DEAD_CALL payload. Runs once for every dead call at a start."""
    fields = _DEAD_CALL.unpack_from(payload)
    _, partition, incarnation, number, redrives, _, dead_at = fields[:7]
    uptime_s, reason_number, status, history_size, *name_sizes, body_size, chunks = fields[11:]
    endpoint_size, function_size, version_size, application_size, type_size, _ = name_sizes
    at = _DEAD_CALL.size + history_size
    endpoint = payload[at : at + endpoint_size]
    at += endpoint_size
    type_at = at + function_size + version_size + application_size
    reason = _reason(reason_number)
    failure = _error_number(reason, status)
    return LetterFacts(
        wire_id(partition, incarnation, number),
        partition,
        incarnation,
        number,
        redrives,
        dead_at,
        endpoint + PLACE_END + payload[at : at + function_size],
        0,
        failure,
        reason.value,
        body_size,
        array("Q", payload[-8 * chunks :]) if chunks else None,
        uptime_s,
        "" if failure else payload[type_at : type_at + type_size].decode("utf-8", "replace"),
    )


def _reason(number: int) -> CallReason:
    if not 0 < number <= len(_REASONS):
        raise RecordError(f"a dead call has the unknown reason {number}")
    return _REASONS[number - 1]


def _error_number(reason: CallReason, status: int) -> int:
    """What `LetterFacts.failure` is for a call."""
    if reason is CallReason.EXPIRED:
        return FAILURE_NUMBER[Failure.EXPIRED]
    return CALL_ERRORS + status if status else 0


def _cut(text: str, most: int) -> bytes:
    """A text in at most so many bytes, cut between characters."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return data
    return data[:most].decode("utf-8", "ignore").encode("utf-8")
