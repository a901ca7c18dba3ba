"""The records of the results' log.

The first byte is the kind. Integers are little endian, lengths are in bytes, instants microseconds
since the epoch by the wall clock, text is UTF-8. The log has two kinds of the queue's logs, with
the same meaning (`queue.records.kinds`): CHUNK, a piece of a large result, and NOTHING. Its own
kinds are counted from 64, so that no number means different things in different logs:

    RESULT      64  a root call has ended; a later one with the same key takes its place
    FORGOTTEN   65  results that count no more, because their calls run again
    KNOWN       66  which calls had a result once, for those whose records are trimmed

RESULT:

    offset  size  field
         0     1  kind 64
         1     4  incarnation  } of the call's key
         5     8  number       }
        13     8  created
        21     8  expires      the call, had it not ended
        29     8  ended
        37     1  how          (`model.How`)
        38     1  flags        bit 0: the result is an error
        39     4  attempts
        43     4  steps
        47     2  restarts
        49     2  length of function
        51     2  length of endpoint
        53     2  length of version
        55     2  length of application
        57     2  length of status
        59     4  length of the result
        63     2  chunks       0: the result is in this record
        65        function, endpoint, version, application, status
                  the result (a serialized CallResult), or the positions of its chunks (8 each)

FORGOTTEN: its kind, then incarnation (4) and number (8) of each call.
KNOWN: its kind, then incarnation (4), lowest (8) and highest number (8) of each incarnation.

To change a record: its layout never changes once it was used. A new layout gets a new kind at the
end of `ResultKind`, and old kinds are read for ever. `Holdings.visit` takes it in, `shown` shows
it, its bytes go into `tests/unit/test_functions_results_records.py`, and a log that has it becomes
a golden file (`tests/golden/results_life.py`). A program that meets a kind it does not know refuses
the log.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from dispatcher.functions.model import How
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.kinds import MAX_DETAIL_BYTES, RecordError


class ResultKind(IntEnum):
    """First byte of every payload that is of this log alone."""

    RESULT = 64
    FORGOTTEN = 65
    KNOWN = 66


MOST_INLINE_BYTES: Final = CHUNK_BYTES
"""A larger result is stored in chunks of this size."""

_FIELDS: Final = Struct("<BIQQQQBBIIHHHHHHIH")
_KEY: Final = Struct("<IQ")
_RANGE: Final = Struct("<IQQ")
_IS_ERROR: Final = 1
_NAME_BYTES: Final = 8192
_MOST_RESTARTS: Final = 0xFFFF
_NUMBER_BITS: Final = 64
_NUMBER_MASK: Final = (1 << _NUMBER_BITS) - 1


@dataclass(slots=True)
class StoredResult:
    """What a root call came to. Nobody changes it.

    `key`       of the call (`incarnation << 64 | number`).
    `how`       it ended, and `status` in words; `is_error` says that `result` has an error.
    `created_us`, `expires_us`, `ended_us`  microseconds since the epoch, by the wall clock.
    `attempts`  runs of its last step that failed; `steps`, directives it gave before that one;
                `restarts`, how often it began anew without getting further.
    `result`    a serialized CallResult with only output or error set; at most 64 MiB.
    """

    key: int
    function: str
    endpoint: str
    version: str
    application: str
    created_us: int
    expires_us: int
    ended_us: int
    how: How
    status: str
    is_error: bool
    attempts: int
    steps: int
    restarts: int
    result: bytes


class ResultFacts(NamedTuple):
    """What of a RESULT record is needed to find it, and to let it expire. `chunks` are positions of
    its chunks, where there are any; `size_bytes` is the length of the result."""

    incarnation: int
    number: int
    ended_us: int
    size_bytes: int
    chunks: array[int] | None


class KnownRange(NamedTuple):
    """The lowest and the highest number of one incarnation's calls that had a result."""

    incarnation: int
    low: int
    high: int


def key_of(incarnation: int, number: int) -> int:
    """The key of a call."""
    return incarnation << _NUMBER_BITS | number


def parts_of_key(key: int) -> tuple[int, int]:
    """Incarnation and number of a call's key."""
    return key >> _NUMBER_BITS, key & _NUMBER_MASK


def encode_result(result: StoredResult, chunks: Sequence[int] = ()) -> bytes:
    """A RESULT payload; `chunks` are the positions of its pieces, where it is too large for one
    record. Names are cut after 8 KiB, which no caller may send; the status after 512 bytes."""
    incarnation, number = parts_of_key(result.key)
    names = [
        text.encode("utf-8", "replace")[:_NAME_BYTES]
        for text in (result.function, result.endpoint, result.version, result.application)
    ]
    names.append(result.status.encode("utf-8", "replace")[:MAX_DETAIL_BYTES])
    return b"".join(
        (
            _FIELDS.pack(
                ResultKind.RESULT,
                incarnation,
                number,
                result.created_us,
                result.expires_us,
                result.ended_us,
                result.how,
                _IS_ERROR if result.is_error else 0,
                result.attempts,
                result.steps,
                min(result.restarts, _MOST_RESTARTS),
                *map(len, names),
                len(result.result),
                len(chunks),
            ),
            *names,
            b"".join(one.to_bytes(8, "little") for one in chunks) if chunks else result.result,
        )
    )


def decode_result(payload: bytes) -> StoredResult:
    """A whole RESULT payload. Its `result` is b"" where it is in chunks: see `result_facts`.

    Raises:
        RecordError: it is none.
    """
    fields = _fields(payload)
    incarnation, number, created_us, expires_us, ended_us = fields[1:6]
    how, flags, attempts, steps, restarts = fields[6:11]
    texts = []
    at = _FIELDS.size
    for length in fields[11:16]:
        texts.append(payload[at : at + length].decode("utf-8", "replace"))
        at += length
    function, endpoint, version, application, status = texts
    return StoredResult(
        key_of(incarnation, number),
        function,
        endpoint,
        version,
        application,
        created_us,
        expires_us,
        ended_us,
        How(how),
        status,
        bool(flags & _IS_ERROR),
        attempts,
        steps,
        restarts,
        b"" if fields[17] else payload[at:],
    )


def result_facts(payload: bytes) -> ResultFacts:
    """The facts of a RESULT payload. Runs once for each result at a start.

    Raises:
        RecordError: it is none.
    """
    fields = _fields(payload)
    chunks = array("Q", payload[-8 * fields[17] :]) if fields[17] else None
    return ResultFacts(fields[1], fields[2], fields[5], fields[16], chunks)


def _fields(payload: bytes) -> tuple[int, ...]:
    if len(payload) < _FIELDS.size or payload[0] != ResultKind.RESULT:
        raise RecordError(f"kind {payload[:1].hex()} where a result was expected")
    return _FIELDS.unpack_from(payload)


def encode_forgotten(keys: Iterable[int]) -> bytes:
    """A FORGOTTEN payload."""
    return b"%c" % ResultKind.FORGOTTEN + b"".join(_KEY.pack(*parts_of_key(key)) for key in keys)


def decode_forgotten(payload: bytes) -> Iterator[tuple[int, int]]:
    """Incarnation and number of each call in a FORGOTTEN payload."""
    yield from _KEY.iter_unpack(memoryview(payload)[1:])


def encode_known(ranges: Iterable[KnownRange]) -> bytes:
    """A KNOWN payload."""
    return b"%c" % ResultKind.KNOWN + b"".join(_RANGE.pack(*one) for one in ranges)


def decode_known(payload: bytes) -> Iterator[KnownRange]:
    """The ranges of a KNOWN payload."""
    for fields in _RANGE.iter_unpack(memoryview(payload)[1:]):
        yield KnownRange(*fields)
