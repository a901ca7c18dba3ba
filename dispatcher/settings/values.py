"""How the text of a setting becomes its value: pure functions, one for each kind of value.

Each takes what stood in the environment (text) or in the TOML file (text, or TOML's own number,
boolean or array), and raises a `ValueError` that says what is expected, and nothing about what was
found: that is shown once, by `problems`, which knows what is secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from dispatcher.core import units
from dispatcher.core.egress import Patterns
from dispatcher.core.keys import Key, Role
from dispatcher.core.tokens import TOKEN
from dispatcher.settings.address import Address, UnixAddress, parse_listen

_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "no", "off"})
_BOOLEAN_EXPECTED = "one of 1 t true yes on, or 0 f false no off"
_KEYS_EXPECTED = (
    "keys of printable ASCII characters, separated by commas, none of them empty, each a secret or "
    "name:role:secret with a name of letters, digits, dots, dashes and underscores and one of the "
    "roles " + ", ".join(Role)
)
_KEY_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ROLES = frozenset(Role)
_HEADER_NAME = re.compile(TOKEN.decode("ascii"))
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


def whole(low: int, high: int) -> Callable[[object], int]:
    """Make a reader of whole numbers from `low` to `high`."""
    expected = f"a whole number from {low} to {high}"

    def read(raw: object) -> int:
        number = _number(raw)
        if number is None or not low <= number <= high:
            raise ValueError(expected)
        return number

    return read


def milliseconds(low: int, high: int) -> Callable[[object], int]:
    """Make a reader of durations from `low` to `high` milliseconds."""
    expected = (
        f"a whole number from {low} to {high} (milliseconds), or a duration with units such as "
        "500ms, 30s, 5m, 1h30m or 7d"
    )
    return _amount(units.duration_ms, low, high, expected)


def size(low: int, high: int) -> Callable[[object], int]:
    """Make a reader of sizes from `low` to `high` bytes."""
    expected = (
        f"a whole number from {low} to {high} (bytes), or a size with a unit such as 64KiB or 1GiB"
    )
    return _amount(units.size_bytes, low, high, expected)


def _amount(
    with_unit: Callable[[str], int | None], low: int, high: int, expected: str
) -> Callable[[object], int]:
    def read(raw: object) -> int:
        number = _number(raw)
        if number is None and isinstance(raw, str):
            number = with_unit(raw.strip())
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


def listen(raw: object) -> Address | UnixAddress:
    """Read an address to listen on, or a unix socket."""
    return parse_listen(raw.strip() if isinstance(raw, str) else "")


def mode(raw: object) -> str:
    """Read the mode of a file, as `chmod` takes it in digits; four of them are returned."""
    text = str(raw).strip() if isinstance(raw, (str, int)) else ""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("the mode of a file in octal digits, such as 0660 or 600")
    return f"{text:0>4}"


def address(raw: object) -> Address:
    """Read an address to listen on."""
    return Address.parse(raw.strip() if isinstance(raw, str) else "")


def address_or_none(raw: object) -> Address | None:
    """Read an address to listen on; no text is none."""
    if isinstance(raw, str) and not raw.strip():
        return None
    return address(raw)


def path(expected: str) -> Callable[[object], Path]:
    """Make a reader of paths; what they name need not exist.

    Blanks around a path are not part of it. Quotes and control characters are what a slip in a
    shell or a file leaves there: a directory of that name would be made without a word.
    """
    expected = f"{expected}, without quotes and control characters"

    def read(raw: object) -> Path:
        text = raw.strip() if isinstance(raw, str) else ""
        if not text or any(_is_slip(character) for character in text):
            raise ValueError(expected)
        return Path(text)

    return read


def path_or_none(expected: str) -> Callable[[object], Path | None]:
    """Make a reader of paths; no text is none."""
    some = path(expected)
    return lambda raw: None if isinstance(raw, str) and not raw.strip() else some(raw)


def _is_slip(character: str) -> bool:
    return character in "\"'" or unicodedata.category(character) == "Cc"


def keys(raw: object) -> tuple[Key, ...]:
    """Read keys: secrets, or `name:role:secret`. Blanks around a key are not part of it.

    What does not have three parts and a known role is a secret, of an administrator; its name is
    its place in the list.
    """
    return tuple(
        _key(item, place) for place, item in enumerate(items(raw, _KEYS_EXPECTED), start=1)
    )


def _key(item: str, place: int) -> Key:
    name, role, secret = f"key-{place}", Role.ADMIN.value, item
    parts = item.split(":")
    if len(parts) == 3 and parts[1] in _ROLES:
        name, role, secret = parts
    if not secret or not secret.isascii() or not secret.isprintable():
        raise ValueError(_KEYS_EXPECTED)
    if not _KEY_NAME.fullmatch(name):
        raise ValueError(_KEYS_EXPECTED)
    return Key(name, Role(role), secret.encode("ascii"))


def status_codes(raw: object) -> frozenset[int]:
    """Read HTTP status codes that can be tried again. 2xx always counts as delivered."""
    expected = "status codes from 300 to 599, separated by commas, as in 404,409"
    read = whole(300, 599)
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


def header_names(raw: object) -> tuple[str, ...]:
    """Read names of headers."""
    expected = "names of headers, separated by commas, as in X-Api-Key,X-Session"
    found = tuple(items(raw, expected))
    if not all(map(_HEADER_NAME.fullmatch, found)):
        raise ValueError(expected)
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
