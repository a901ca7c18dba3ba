"""How one table is read: key by key, each mistake noted with its place, none of them the last."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

_LONGEST_SHOWN = 200
_CREDENTIALS = re.compile(r"[^/\s\"']*@")

_Value = TypeVar("_Value")


class Mistakes:
    """What is wrong so far; `of` gives one that says where."""

    __slots__ = ("_where", "found")

    def __init__(self, found: list[str] | None = None, where: str = "") -> None:
        self.found: list[str] = [] if found is None else found
        self._where = where

    def of(self, name: str, place: int, known_as: object = None) -> Mistakes:
        """What is wrong with one table: the n-th of this name, and what it is for."""
        called = f" ({_shown(known_as)})" if isinstance(known_as, str) else ""
        return Mistakes(self.found, f"{name} {place}{called}: ")

    def add(self, sentence: str) -> None:
        """Note a mistake."""
        self.found.append(self._where + sentence)


class Table:
    """One table of the file. What is asked for and wrong is noted, and given as None."""

    def __init__(self, given: Mapping[str, Any], known: Iterable[str], mistakes: Mistakes) -> None:
        self._given = given
        self._mistakes = mistakes
        known = list(known)
        for key in given:
            if key not in known:
                close = difflib.get_close_matches(key.lower(), known, n=1)
                meant = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
                mistakes.add(f"{_shown(key)}: no such key; {meant}")

    def read(self, key: str, reader: Callable[[object], _Value]) -> _Value | None:
        """Return the value of a key; None where it is not there, or wrong."""
        if key not in self._given:
            return None
        try:
            return reader(self._given[key])
        except ValueError as error:
            self._mistakes.add(f"{key}={_shown(self._given[key])}: expected {error}")
            return None

    def read_hidden(self, key: str, reader: Callable[[object], _Value]) -> _Value | None:
        """The same for a value that is secret; the reader says what was found, as far as it may be
        said."""
        if key not in self._given:
            return None
        try:
            return reader(self._given[key])
        except ValueError as error:
            self._mistakes.add(f"{key}: {error}")
            return None


def _shown(value: object) -> str:
    """What was written, without the name and password that a URL may have by mistake."""
    text = _CREDENTIALS.sub("***@", str(value)).encode("unicode_escape").decode("ascii")
    return f"{text[:_LONGEST_SHOWN]}{'…' if len(text) > _LONGEST_SHOWN else ''}"
