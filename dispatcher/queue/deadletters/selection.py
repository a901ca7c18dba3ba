"""Which dead letters somebody means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LetterKind(Enum):
    """What died; the value is the API's word."""

    MESSAGE = "message"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters: all that match everything that is not None.

    `error` is as `core.outcome.cause` has it, of a call its status or the word for its error
    (`core.calls`). `before_us` and
    `after_us` are compared with the instant of death, exclusively. The `destination` of a call is
    its endpoint; only calls have a `function`.
    """

    destination: str | None = None
    status: int | None = None
    error: str | None = None
    before_us: int | None = None
    after_us: int | None = None
    kind: LetterKind | None = None
    function: str | None = None
