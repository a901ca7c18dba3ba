"""What a step was given, for comparison in a replay: never sent, and too large to keep."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

from dispatcher.sdk.exceptions import EncodeError
from dispatcher.sdk.replay.model import NOTHING, Value
from dispatcher.sdk.values import encode

_DIGEST: Final = "dispatcher.sdk.v1.Digest"


def input_of(args: tuple[object, ...], kwargs: Mapping[str, object]) -> Value:
    """Return what stands for the arguments of a step. The same arguments give the same; of one that
    can't be sent, as a client or an open file, the class alone counts."""
    if not args and not kwargs:
        return NOTHING
    digest = hashlib.blake2b(digest_size=16)
    for piece in _pieces(args, kwargs):
        digest.update(len(piece).to_bytes(8, "big") + piece)
    return Value(_DIGEST, digest.digest())


def _pieces(args: tuple[object, ...], kwargs: Mapping[str, object]) -> Iterator[bytes]:
    for value in args:
        yield _piece(value)
    for name in sorted(kwargs):
        yield name.encode()
        yield _piece(kwargs[name])


def _piece(value: object) -> bytes:
    try:
        encoded = encode(value)
    except EncodeError:
        return type(value).__qualname__.encode()
    return encoded.type.encode() + b"\0" + encoded.data
