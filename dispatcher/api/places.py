"""Cursors of replays: how far one was, and where its history ends, as a word that means nothing to
clients. Like those of pages (`cursor`) they have a checksum."""

from __future__ import annotations

import base64
import binascii
import zlib
from struct import Struct
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

from dispatcher.api.errors import ApiError
from dispatcher.queue.admin.surface import Place

_FIRST, _WITH_PARTITION = b"\x01", b"\x02"
_LAYOUTS: Final = {_FIRST: Struct(">QIQ"), _WITH_PARTITION: Struct(">QIQH3x")}
"""By version. The first has no partition: it is of partition 0, as every place was once. The second
is filled up to a length that base 32 needs no padding for."""
_CHECK_BYTES: Final = 4


def encode(place: Place) -> str:
    """Spell a place: 40 lower-case letters and digits, or 48 with a partition."""
    if place.partition:
        fields = _WITH_PARTITION + _LAYOUTS[_WITH_PARTITION].pack(*place)
    else:
        fields = _FIRST + _LAYOUTS[_FIRST].pack(*place[:3])
    return base64.b32encode(_check(fields) + fields).decode("ascii").lower()


def decode(text: str) -> Place:
    """Read what `encode` spelled.

    Raises:
        ValueError: it did not spell that.
    """
    try:
        spelled = base64.b32decode(text.upper())
    except (binascii.Error, ValueError):
        spelled = b""
    check, fields = spelled[:_CHECK_BYTES], spelled[_CHECK_BYTES:]
    layout = _LAYOUTS.get(fields[:1])
    if (
        layout is None
        or len(fields) != 1 + layout.size
        or _check(fields) != check
        or text != text.lower()
    ):
        raise ValueError("it is not the `cursor` of a replay's line")
    return Place(*layout.unpack(fields[1:]))


def _check(fields: bytes) -> bytes:
    return zlib.crc32(fields).to_bytes(_CHECK_BYTES, "big")


def _decoded(value: object) -> Place:
    try:
        return decode(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ApiError(
            400, "cursor_invalid", f"The cursor cannot be read: {error}; leave it out to begin."
        ) from error


PlaceOfReplay = Annotated[
    Place,
    BeforeValidator(_decoded),
    WithJsonSchema({"type": "string", "pattern": "^[a-z2-7]{40}$"}),
]
"""Where a replay goes on, else `cursor_invalid`."""
