"""What an answer of JetStream means. Pure: the table of publishing, and of the API's errors.

An answer that reports an error holds `"seq": 0` beside it: the error is looked at first, always.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from dispatcher.txlog.nats.batch import Batch, Fence

NO_MESSAGE: Final = 10037
NO_STREAM: Final = 10059
NAME_IN_USE: Final = 10058
_STORE_FAILED: Final = 10077
_NO_RESOURCES: Final = 10023
NOT_AS_EXPECTED: Final = frozenset({10070, 10071, 10164})
"""The stream, or the subject, does not end where the publisher said."""


@dataclass(frozen=True, slots=True)
class ApiError:
    """JetStream says no."""

    code: int
    """One of its own codes, as 10071; 0 where it gave none."""
    why: str


def parse(data: bytes) -> dict[str, Any] | ApiError | None:
    """Return an answer's fields, or its error; None: it is no answer of JetStream."""
    try:
        fields = json.loads(data)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    error = fields.get("error")
    if isinstance(error, dict):
        return ApiError(int(error.get("err_code", 0)), str(error.get("description", "")))
    return fields


class Word(Enum):
    """What an answer to a publish says."""

    STORED = "stored, as the message that was expected"
    ELSEWHERE = "stored, as another one"
    LOOK = "something else was there: look whose it is"
    FULL = "certainly not stored: there is no space"
    AGAIN = "nobody knows: ask again"


def word_of(data: bytes, expected: int, *, is_first_try: bool) -> Word:
    """Return what the answer to a publish says of a message that has to become number
    `expected`.

    That there is no space says that nothing is stored only of a first try: an earlier one may be.
    """
    fields = parse(data)
    if isinstance(fields, ApiError):
        if fields.code in NOT_AS_EXPECTED:
            return Word.LOOK
        if _is_full(fields):
            return Word.FULL if is_first_try else Word.LOOK
        return Word.AGAIN
    if fields is None or not isinstance(fields.get("seq"), int):
        return Word.AGAIN
    return Word.STORED if fields["seq"] == expected else Word.ELSEWHERE


def _is_full(error: ApiError) -> bool:
    """The code for a store that failed is used for a broken disk too; that one says nothing."""
    return error.code == _NO_RESOURCES or (
        error.code == _STORE_FAILED and "maximum" in error.why and "exceeded" in error.why
    )


class Whose(Enum):
    """Whose message it is that stands where ours should."""

    OURS = "ours: it is stored"
    OUR_FENCE = "a fence of our own that came late: ours comes behind it"
    ANOTHERS = "another owner's"
    LATE_FENCE = "the fence of an owner whose turn was before ours"
    NOBODYS = "nothing is there"
    DAMAGED = "something that nobody can have stored"


def whose(
    found: Batch | Fence | str | None, *, sent: Batch | Fence, epoch: int, token: int
) -> Whose:
    """Say whose a message is. `sent` is ours, of which we do not know what became."""
    match found:
        case None:
            return Whose.NOBODYS
        case str():
            return Whose.DAMAGED
        case Fence() if found.token == token:
            return Whose.OURS if isinstance(sent, Fence) else Whose.OUR_FENCE
        case Fence():
            return Whose.ANOTHERS if found.epoch >= epoch else Whose.LATE_FENCE
        case Batch() if found.token != token:
            return Whose.ANOTHERS
        case Batch():
            is_it = isinstance(sent, Batch) and found.number == sent.number
            return Whose.OURS if is_it else Whose.DAMAGED
