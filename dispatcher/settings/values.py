"""How the text of a setting becomes its value: pure functions, one for each kind of value.

Each takes what stood in the environment (text) or in the TOML file (text, or TOML's own number,
boolean or array), and raises a `ValueError` that says what is expected, and nothing about what was
found: that is shown once, by `problems`, which knows what is secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from dispatcher.core.egress import Patterns
from dispatcher.settings.address import Address

_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "no", "off"})
_BOOLEAN_EXPECTED = "one of 1 t true yes on, or 0 f false no off"
_KEYS_EXPECTED = "keys of printable ASCII characters, separated by commas, none of them empty"
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")

_Choice = TypeVar("_Choice", bound=StrEnum)


def boolean(raw: object) -> bool:
    """Read a boolean."""
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower() if isinstance(raw, (str, int)) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(_BOOLEAN_EXPECTED)


def whole(low: int, high: int, unit: str = "") -> Callable[[object], int]:
    """Make a reader of whole numbers from `low` to `high`; `unit` is only for the message."""
    expected = f"a whole number from {low} to {high}{f' ({unit})' if unit else ''}"

    def read(raw: object) -> int:
        number = _number(raw)
        if number is None or not low <= number <= high:
            raise ValueError(expected)
        return number

    return read


def _number(raw: object) -> int | None:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and _WHOLE.fullmatch(raw.strip()):
        return int(raw)
    return None


def choice(kind: type[_Choice]) -> Callable[[object], _Choice]:
    """Make a reader of one of a few words, any case."""

    def read(raw: object) -> _Choice:
        word = raw.strip().lower() if isinstance(raw, str) else raw
        for member in kind:
            if member.value == word:
                return member
        raise ValueError("one of " + ", ".join(member.value for member in kind))

    return read


def address(raw: object) -> Address:
    """Read an address to listen on."""
    return Address.parse(raw.strip() if isinstance(raw, str) else "")


def directory(raw: object) -> Path:
    """Read the path of a directory; it need not exist."""
    if not isinstance(raw, str) or not raw.strip() or "\0" in raw:
        raise ValueError("the path of a directory")
    return Path(raw)


def keys(raw: object) -> tuple[bytes, ...]:
    """Read secret keys. Blanks around a key are not part of it."""
    found = []
    for item in items(raw, _KEYS_EXPECTED):
        if not item.isascii() or not item.isprintable():
            raise ValueError(_KEYS_EXPECTED)
        found.append(item.encode("ascii"))
    return tuple(found)


def status_codes(raw: object) -> frozenset[int]:
    """Read HTTP status codes."""
    expected = "status codes from 100 to 599, separated by commas, as in 404,409"
    read = whole(100, 599)
    try:
        return frozenset(read(item) for item in items(raw, expected))
    except ValueError:
        raise ValueError(expected) from None


def patterns(raw: object) -> tuple[str, ...]:
    """Read host patterns and networks of the egress rules."""
    expected = "host names, *.names, addresses and networks such as 10.0.0.0/8, separated by commas"
    found = tuple(items(raw, expected))
    try:
        Patterns.parse(found)
    except ValueError as error:
        raise ValueError(f"{expected}: {error}") from None
    return found


def items(raw: object, expected: str) -> list[str]:
    """Split a list: text with commas between its items, or an array. No text is an empty list.

    Raises:
        ValueError: `expected`, when an item is empty.
    """
    found = _split(raw, expected)
    if not all(found):
        raise ValueError(expected)
    return found


def _split(raw: object, expected: str) -> list[str]:
    match raw:
        case str():
            return [item.strip() for item in raw.split(",")] if raw.strip() else []
        case list() if all(_is_text_or_number(item) for item in raw):
            return [str(item).strip() for item in raw]
        case int() if _is_text_or_number(raw):
            return [str(raw)]
        case _:
            raise ValueError(expected)


def _is_text_or_number(item: object) -> bool:
    return isinstance(item, str | int) and not isinstance(item, bool)
