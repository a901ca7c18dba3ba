"""Structured fields of HTTP (RFC 8941), as far as signatures need them: dictionaries of items and
of inner lists, with parameters. Decimals are not read.

    sig=("@method" "content-type");created=1700000000;keyid="default", other=:AAEC:
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn


class StructuredInvalid(ValueError):
    """A field is not as RFC 8941 has it. The message says where."""


class Token(str):
    """A word without quotes."""

    __slots__ = ()


Bare = str | int | bytes | bool
"""A string or a `Token`, an integer, a byte sequence, a boolean."""


@dataclass(frozen=True, slots=True)
class Item:
    value: Bare
    params: Mapping[str, Bare] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InnerList:
    items: tuple[Item, ...]
    params: Mapping[str, Bare] = field(default_factory=dict)


_KEY: Final = re.compile(r"[a-z*][a-z0-9_.*-]*")
_STRING: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_BYTES: Final = re.compile(r":([A-Za-z0-9+/]*={0,2}):")
_BOOLEAN: Final = re.compile(r"\?([01])")
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_SPACES: Final = re.compile(r" *")
_BLANKS: Final = re.compile(r"[ \t]*")
_COMMA: Final = re.compile(r"[ \t]*,[ \t]*")


def parse_dictionary(text: str) -> dict[str, Item | InnerList]:
    """Read a field; several lines of it are joined with commas before. Of two entries with one key
    the later one counts.

    Raises:
        StructuredInvalid: it is something else.
    """
    return _Reader(text).dictionary()


def bare_text(value: Bare) -> str:
    """Write a bare item in its canonical form."""
    match value:
        case bool():
            return "?1" if value else "?0"
        case int():
            return str(value)
        case bytes():
            return f":{b64encode(value).decode()}:"
        case Token():
            return value
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'


def params_text(params: Mapping[str, Bare]) -> str:
    """Write parameters: `;a=1;b`. True has no value."""
    return "".join(
        f";{key}" if value is True else f";{key}={bare_text(value)}"
        for key, value in params.items()
    )


def inner_list_text(inner: InnerList) -> str:
    """Write an inner list in its canonical form."""
    items = (bare_text(item.value) + params_text(item.params) for item in inner.items)
    return f"({' '.join(items)}){params_text(inner.params)}"


class _Reader:
    """The text and how far it has been read."""

    __slots__ = ("_at", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def dictionary(self) -> dict[str, Item | InnerList]:
        found: dict[str, Item | InnerList] = {}
        self._take(_SPACES)
        while self._at < len(self._text):
            key = self._expect(_KEY, "a key").group()
            found.pop(key, None)
            found[key] = self._member() if self._skip("=") else Item(True, self._params())
            self._take(_BLANKS)
            if self._at == len(self._text):
                break
            self._expect(_COMMA, "a comma")
            if self._at == len(self._text):
                self._fail("another entry after the comma")
        return found

    def _member(self) -> Item | InnerList:
        return self._inner_list() if self._skip("(") else self._item()

    def _inner_list(self) -> InnerList:
        items = []
        self._take(_SPACES)
        while not self._skip(")"):
            items.append(self._item())
            if not self._text.startswith((" ", ")"), self._at):
                self._fail("a space or `)`")
            self._take(_SPACES)
        return InnerList(tuple(items), self._params())

    def _item(self) -> Item:
        return Item(self._bare(), self._params())

    def _params(self) -> dict[str, Bare]:
        params: dict[str, Bare] = {}
        while self._skip(";"):
            self._take(_SPACES)
            key = self._expect(_KEY, "the name of a parameter").group()
            params.pop(key, None)
            params[key] = self._bare() if self._skip("=") else True
        return params

    def _bare(self) -> Bare:
        if found := self._take(_STRING):
            return re.sub(r"\\(.)", r"\1", found[1])
        if found := self._take(_INTEGER):
            return int(found[0])
        if found := self._take(_BYTES):
            return self._bytes(found[1])
        if found := self._take(_BOOLEAN):
            return found[1] == "1"
        return Token(self._expect(_TOKEN, "a value").group())

    def _bytes(self, text: str) -> bytes:
        try:
            return b64decode(text + "=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            self._fail("base64")

    def _skip(self, character: str) -> bool:
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        return True

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _expect(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        found = self._take(pattern)
        if found is None:
            self._fail(what)
        return found

    def _fail(self, what: str) -> NoReturn:
        raise StructuredInvalid(f"expected {what} at character {self._at} of a structured field")
