"""KEYS records: idempotency keys whose messages' own records are to be dropped.

Entries of 41 bytes: the hash of destination and key (12), the print of what was asked for (u64),
the id position (u64) and incarnation (u32) of the message, when its window began (u64), and whether
it was given up or cancelled (u8: 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from dispatcher.queue.records.kinds import Kind, RecordError

_KEY: Final = Struct("<12sQQIQB")
KEY_BYTES: Final = 44
"""What a key takes in the log, with its part of what its record takes besides."""
MOST_KEYS: Final = 1000
"""In one record: a millisecond."""


class StoredKey(NamedTuple):
    """A key that stands for a message. `hashed` has 12 bytes; `at_us` is by the wall clock."""

    hashed: bytes
    print: int
    position: int
    incarnation: int
    at_us: int
    undelivered: bool


def encode_keys(keys: Iterable[StoredKey]) -> bytes:
    """A KEYS payload of at most `MOST_KEYS`."""
    return bytes([Kind.KEYS]) + b"".join(_KEY.pack(*key) for key in keys)


def decode_keys(payload: bytes) -> Iterator[StoredKey]:
    """The keys of a KEYS payload."""
    if (len(payload) - 1) % _KEY.size:
        raise RecordError("the last key is not whole")
    for hashed, print_, position, incarnation, at_us, flag in _KEY.iter_unpack(payload[1:]):
        yield StoredKey(hashed, print_, position, incarnation, at_us, bool(flag))
