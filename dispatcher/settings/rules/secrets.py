"""Values that are secret: `env:NAME` and `file:PATH` are read, anything else is the value itself.

No sentence here has a value in it, only the name of the variable or the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from dispatcher.core.rules.rule import PemFile, Secret
from dispatcher.protocol import webhooks

HIDDEN: Final = "hidden"
_ENV: Final = "env:"
_FILE: Final = "file:"
_SEPARATOR: Final = re.compile(r"[\s,]+")
_MOST_KEYS: Final = 10
_LARGEST: Final = 1 << 20
"""Bytes of a file that are read."""


def read_text(raw: object, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return a text and its source. Blanks and line ends around what a variable or a file holds are
    no part of it.

    Raises:
        ValueError: a whole sentence.
    """
    if not isinstance(raw, str):
        raise ValueError("expected text: the value itself, env:NAME or file:PATH")
    if raw.startswith(_ENV):
        name = raw.removeprefix(_ENV).strip()
        text = environ.get(name, "").strip()
        if not text:
            raise ValueError(f"the variable {ascii(name)[1:-1]} is not set, or empty")
        return text, f"{_ENV}{name}"
    if raw.startswith(_FILE):
        path = raw.removeprefix(_FILE).strip()
        try:
            text = _content(path).decode("utf-8").strip()
        except UnicodeDecodeError:
            raise ValueError(f"the file {ascii(path)[1:-1]} is no text") from None
        if not text:
            raise ValueError(f"the file {ascii(path)[1:-1]} is empty")
        return text, f"{_FILE}{path}"
    if not raw.strip():
        raise ValueError("it is empty")
    return raw.strip(), HIDDEN


def read_keys(raw: object, environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """Read the keys of signatures, the newest first: a list, or one. What is read from a variable
    or a file may be several, a line each or with commas between them.

    Raises:
        ValueError: a whole sentence.
    """
    given = raw if isinstance(raw, list) else [raw]
    found: list[Secret] = []
    for item in given:
        text, source = read_text(item, environ)
        found += [Secret(_key(part), source) for part in _SEPARATOR.split(text) if part]
    if not found:
        raise ValueError("expected one secret or more")
    if len(found) > _MOST_KEYS:
        raise ValueError(f"expected {_MOST_KEYS} secrets at most: a body is signed with each")
    return tuple(found)


def _key(text: str) -> bytes:
    try:
        return webhooks.Secret.read(text).key
    except ValueError:
        raise ValueError("a secret is no key in base64, after whsec_ or not") from None


def read_pem(raw: object) -> PemFile:
    """Read the path of a PEM file, and what is in it.

    Raises:
        ValueError: a whole sentence.
    """
    path = raw.removeprefix(_FILE).strip() if isinstance(raw, str) else ""
    if not path or path.startswith(_ENV):
        raise ValueError("expected the path of a PEM file")
    content = _content(path)
    if b"-----BEGIN " not in content:
        raise ValueError(f"the file {ascii(path)[1:-1]} is not PEM")
    return PemFile(path, content)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such path"
        raise ValueError(f"the file {ascii(path)[1:-1]} cannot be read: {reason}") from None
    if len(content) > _LARGEST:
        raise ValueError(f"the file {ascii(path)[1:-1]} is larger than 1 MiB")
    return content
