"""Cursors of pages: a number inside, a word that means nothing to clients outside.

Spelled so that nobody adds one to it, and with a checksum: a word that was cut short while it was
copied would otherwise be another place in the list.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Final

FIRST_PAGE: Final = 0
_NUMBER_BYTES: Final = 8
_CHECK_BYTES: Final = 2
_MAX: Final = 2 ** (8 * _NUMBER_BYTES) - 1


def encode(cursor: int) -> str:
    """Spell a cursor, from 1 to 2**64 - 1: 16 lower-case letters and digits."""
    if not 0 < cursor <= _MAX:
        raise ValueError(f"{cursor} is no cursor")
    number = cursor.to_bytes(_NUMBER_BYTES, "big")
    return base64.b32encode(_check(number) + number).decode("ascii").lower()


def decode(text: str) -> int:
    """Read what `encode` spelled.

    Raises:
        ValueError: it did not spell that.
    """
    try:
        spelled = base64.b32decode(text.upper())
    except (binascii.Error, ValueError):
        raise ValueError("it is not the `next` of a page") from None
    number = spelled[_CHECK_BYTES:]
    cursor = int.from_bytes(number, "big")
    if len(number) != _NUMBER_BYTES or not cursor or encode(cursor) != text:
        raise ValueError("it is not the `next` of a page")
    return cursor


def _check(number: bytes) -> bytes:
    return zlib.crc32(number).to_bytes(4, "big")[:_CHECK_BYTES]
