"""The header fields of a response, as far as they say something about its end. Pure."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Fields: TypeAlias = dict[bytes, list[bytes]]
"""The values of each field, in order, without blanks around them, by its name in lower case."""

_NAME: Final = re.compile(rb"[^\x00-\x20\x7f]+")


def read_fields(lines: list[bytes]) -> Fields | None:
    """Read the lines of a head after its first; None when one is no field. A line that begins with
    a blank goes on with the one before (RFC 9112 §5.2)."""
    fields: Fields = {}
    last: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if last:
                last[-1] = (last[-1] + b" " + line.strip()).strip()
            continue
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")
        if not colon or not _NAME.fullmatch(name):
            return None
        last = fields.setdefault(name.lower(), [])
        last.append(value.strip())
    return fields


def read_pairs(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of a head as they came, from its lines after the first: names as they are spelled,
    in their order. What is no field is passed over."""
    pairs: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if pairs:
                name, value = pairs[-1]
                pairs[-1] = name, (value + b" " + line.strip()).strip()
            continue
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")
        if colon and _NAME.fullmatch(name):
            pairs.append((name, value.strip()))
    return tuple(pairs)


def members(fields: Fields, name: bytes) -> list[bytes]:
    """The members of a list, in lower case, from all fields of that name (RFC 9110 §5.6.1)."""
    return [one.strip() for one in b",".join(fields.get(name, [])).lower().split(b",")]


def retry_after(fields: Fields) -> bytes | None:
    """The first `Retry-After`."""
    return next(iter(fields.get(b"retry-after", [])), None)


def is_chunked(fields: Fields) -> bool:
    """Say whether the body ends with its last chunk (RFC 9112 §6.3, 4)."""
    return members(fields, b"transfer-encoding")[-1] == b"chunked"


def persists(fields: Fields, version: bytes) -> bool:
    """Say whether the connection may carry another response, as far as the head goes (RFC 9112
    §9.3). `version`: as in `1.1`."""
    options = members(fields, b"connection")
    return b"close" not in options and (version == b"1.1" or b"keep-alive" in options)
