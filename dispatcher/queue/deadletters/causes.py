"""Where dead letters were going and what they died of, as a row of the index has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dispatcher.core.calls import OTHER_TYPE, error_word, status_word, type_word
from dispatcher.core.destination import Origin
from dispatcher.core.outcome import Failure, cause
from dispatcher.queue.deadletters.selection import LetterKind
from dispatcher.queue.records.letters import CALL_ERRORS, PLACE_END, LetterFacts

_FAILURES = (None, *Failure)
_PLACE_END = PLACE_END.decode()
MOST_ERROR_TYPES = 256


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


def split(place: str) -> tuple[str, str | None, str]:
    """The destination of a message and None, or endpoint, function and type of the error of a call,
    out of a name that `ErrorTypes.place` made."""
    destination, end, rest = place.partition(_PLACE_END)
    function, _, error_type = rest.partition(_PLACE_END)
    return destination, function if end else None, error_type


class ErrorTypes:
    """The types of errors that letters are told apart by. Applications choose them, and groups have
    to stay few: after the first `most`, all new ones are one."""

    def __init__(self, most: int = MOST_ERROR_TYPES) -> None:
        self._most = most
        self._known: set[str] = set()

    def place(self, letter: LetterFacts) -> str:
        """Where a letter was going, with the type of its error, if it has one: a name for both."""
        place = str(letter.destination, "utf-8", "replace")
        kind = type_word(letter.error_type)
        if not kind:
            return place
        if len(self._known) < self._most:
            self._known.add(kind)
        return f"{place}{_PLACE_END}{kind if kind in self._known else OTHER_TYPE}"


@lru_cache(maxsize=4096)
def spelled(endpoint: str) -> str:
    """An endpoint in the one spelling that filters have: callers write it as they like."""
    try:
        return str(Origin.parse(endpoint.encode("utf-8", "replace")))
    except ValueError:  # it is none of http
        return endpoint


def word(place: str, status: int, failure: int) -> str | None:
    """What the last attempt of a row came to, or the call of a row."""
    if failure >= CALL_ERRORS:
        return status_word(failure - CALL_ERRORS)
    if not failure and _PLACE_END in place:
        return error_word(split(place)[2])
    return cause(status or None, _FAILURES[failure])
