"""Where dead letters were going and what they died of, as a row of the index has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dispatcher.core.calls import status_word
from dispatcher.core.destination import Origin
from dispatcher.core.outcome import Failure, cause
from dispatcher.queue.deadletters.selection import LetterKind
from dispatcher.queue.records.letters import CALL_ERRORS, PLACE_END

_FAILURES = (None, *Failure)
_PLACE_END = PLACE_END.decode()


@dataclass(frozen=True, slots=True)
class Cause:
    """What dead letters are grouped and selected by. `status` and `error` are those of the last
    attempt; `function` is None of a message."""

    destination: str
    function: str | None
    status: int | None
    error: str | None
    reason: str

    @property
    def kind(self) -> LetterKind:
        """What died."""
        return LetterKind.MESSAGE if self.function is None else LetterKind.CALL


def split(place: str) -> tuple[str, str | None]:
    """The destination of a message and None, or endpoint and function of a call, out of what
    `LetterFacts.destination` is."""
    destination, end, function = place.partition(_PLACE_END)
    return destination, function if end else None


@lru_cache(maxsize=4096)
def spelled(endpoint: str) -> str:
    """An endpoint in the one spelling that filters have: callers write it as they like."""
    try:
        return str(Origin.parse(endpoint.encode("utf-8", "replace")))
    except ValueError:  # it is none of http
        return endpoint


def word(status: int, failure: int) -> str | None:
    """What the last attempt of a row came to, or the call of a row."""
    if failure >= CALL_ERRORS:
        return status_word(failure - CALL_ERRORS)
    return cause(status or None, _FAILURES[failure])
