"""The history of a message: its finished attempts, first to last, as RETRY, MOVED and DEAD records
hold it.

16 bytes an attempt, one after the other. The last of them is the status that the run of a call came
to, in the history of a dead call; it is 0 everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from dispatcher.core.outcome import AttemptResult, Failure

# started_at, duration_ms, status (0: none), failure (0: none, else its number), status of a call
ATTEMPT_FIELDS: Final = Struct("<QIHBB")

_FAILURES: Final = tuple(Failure)
FAILURE_NUMBER: Final = {failure: number for number, failure in enumerate(_FAILURES, 1)}
"""What a failure is stored as: its place in `Failure`, from 1."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt, as the history keeps it. `status` and `failure` are None when there was
    none; `call_status` is the protocol's number for what the run of a call came to, else 0."""

    started_at: int
    duration_ms: int
    status: int | None
    failure: Failure | None
    call_status: int = 0


def encode_attempt(started_at: int, result: AttemptResult) -> bytes:
    """One finished attempt, to be put at the end of a history."""
    return ATTEMPT_FIELDS.pack(
        started_at,
        min(result.duration_ms, 0xFFFFFFFF),
        result.status or 0,
        0 if result.failure is None else FAILURE_NUMBER[result.failure],
        0,
    )


def encode_history(attempts: Iterable[Attempt]) -> bytes:
    """A history of these attempts."""
    return b"".join(
        ATTEMPT_FIELDS.pack(
            one.started_at,
            min(one.duration_ms, 0xFFFFFFFF),
            one.status or 0,
            0 if one.failure is None else FAILURE_NUMBER[one.failure],
            one.call_status,
        )
        for one in attempts
    )


def decode_history(history: bytes) -> list[Attempt]:
    """The finished attempts, first to last."""
    return [
        Attempt(
            started,
            duration,
            status or None,
            _FAILURES[failure - 1] if failure else None,
            call_status,
        )
        for started, duration, status, failure, call_status in ATTEMPT_FIELDS.iter_unpack(history)
    ]


def last_attempt(history: bytes) -> Attempt | None:
    """The last finished attempt, None before the first."""
    return decode_history(history[-ATTEMPT_FIELDS.size :])[0] if history else None
