"""The two ways in: the listener that callers send to, and the forward proxy (`PROXY_LISTEN`).

A request to the proxy is one to the listener, but for three things: the target names the
destination where no origin header does, the key may come as a proxy's password, and refusals say
what a proxy's caller can do. Everything else is the same, and shared: an `Entrance` has all that
differs.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Final

from dispatcher.errors import Refusal
from dispatcher.ingress import refusals

_BASIC: Final = b"basic"
_BLANKS: Final = b" \t"


@dataclass(frozen=True, slots=True)
class Entrance:
    """What is said to callers of one of them.

    `is_proxy`        whether the target may name the destination.
    `connect`         to CONNECT.
    `origin_missing`  where nothing names the destination.
    `key`             where a key is missing or wrong.
    """

    is_proxy: bool
    connect: Refusal
    origin_missing: Refusal
    key: Refusal


LISTENER: Final = Entrance(False, refusals.CONNECT, refusals.ORIGIN_MISSING, refusals.KEY)
PROXY: Final = Entrance(
    True, refusals.PROXY_CONNECT, refusals.PROXY_ORIGIN_MISSING, refusals.PROXY_KEY
)


def password_of(credentials: bytes) -> bytes:
    """The password in a value of `Proxy-Authorization` (RFC 7617), or b"" where it has none. The
    user may have any name."""
    scheme, _, encoded = credentials.strip(_BLANKS).partition(b" ")
    if scheme.lower() != _BASIC:
        return b""
    try:
        pair = binascii.a2b_base64(encoded.strip(b" "), strict_mode=True)
    except binascii.Error:
        return b""
    return pair.partition(b":")[2]
