"""What an idempotency key is known by, and how two requests with one key are told apart.

A key belongs to its destination, or to a place in a group, so it is known by the hash of both. What
was asked for is the method, the target and the body: of these there is a *print* of 64 bits, taken
while the body arrives. Two requests that differ have the same print once in 2^64 times.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Protocol

HASH_BYTES: Final = 12
_PRINT_BYTES: Final = 8
_KEY: Final = b"key"
_COPY: Final = b"copy"


class Printer(Protocol):
    """Takes the print of a request, piece by piece."""

    def update(self, data: bytes | bytearray, /) -> None:
        """The next bytes of the body."""

    def digest(self) -> bytes:
        """See `print_of`."""


def key_hash(destination: bytes, key: str) -> bytes:
    """What a caller's key is known by; `destination` is `Destination.key`, or a place in a
    group."""
    return _hash(_KEY, destination, key)


def key_hashes(destinations: Iterable[bytes], keys: Iterable[bytes]) -> list[bytes]:
    """Do what `key_hash` does for many keys, as they are stored, each with its destination: fast
    where destinations are the same as those before them."""
    hashes: list[bytes] = []
    last: bytes | None = None
    begun = blake2b()
    for destination, key in zip(destinations, keys, strict=True):
        if destination != last:
            begun = blake2b(destination + b"\0", digest_size=HASH_BYTES, person=_KEY)
            last = destination
        hashed = begun.copy()
        hashed.update(key)
        hashes.append(hashed.digest())
    return hashes


def place_in_group(name: str, number: int) -> str:
    """What the key of a request to a group belongs to, for one of its messages: each has an entry
    of its own, so that one key stands for all of them."""
    return f"group:{name}/{number}"


def group_in_place(place: str) -> str:
    """The name of the group of a place in it."""
    return place.removeprefix("group:").rpartition("/")[0]


def copy_hash(destination: bytes, message_id: str, request_print: int) -> bytes:
    """What a message that was imported is known by, from the id it had before, and its print:
    importing it again finds it, unless the file says something else of it by then."""
    return _hash(_COPY, destination, f"{message_id} {request_print:x}")


def _hash(kind: bytes, destination: bytes, text: str) -> bytes:
    hashed = blake2b(destination, digest_size=HASH_BYTES, person=kind)
    hashed.update(b"\0" + text.encode("ascii"))  # no destination has a zero
    return hashed.digest()


def begin_print(head: bytes) -> Printer:
    """Begin the print of a request, of whose outgoing head only the first line counts."""
    return new_print(head[: head.index(b"\r\n")])


def new_print(what: bytes) -> Printer:
    """Begin a print with what else than the body counts; there is no line end in it."""
    return blake2b(what + b"\n", digest_size=_PRINT_BYTES)


def print_of(printer: Printer) -> int:
    """The print of a request whose whole body was taken."""
    return int.from_bytes(printer.digest(), "little")
