"""Which partition takes what has to meet others of its kind. Pure.

Messages that share a key (order, flow, idempotency) have to lie in one log, or nobody could tell
that they share it. A key belongs to the *place* it is used for: a destination, a group, a schedule,
a promise. So the place alone says which partition, and one message with several keys is never
wanted in two.

    destination        scheme://host[:port], as in `Destination.key`
    group, schedule, promise, session    its kind, a colon, and its name

The number of partitions that places are spread over is stored with the log, and so is what was
decided with it: this function is a format, and stays as it is.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from dispatcher.core.idempotency import group_in_place
from dispatcher.core.terms import Terms

FIRST: Final = 0
"""The partition that has more than messages: what there is once in a node or a cluster, such as
function calls and schedules, lies in its logs, and it knows which destinations are held."""

_PERSON = b"partition"
_HASH_BYTES = 8
_GROUP = b"group:"


def partition_of(place: bytes, count: int) -> int:
    """The partition of a place, of `count` that there are, from 0: the BLAKE2b hash of 8 bytes with
    the person `partition`, little endian, modulo `count`."""
    digest = blake2b(place, digest_size=_HASH_BYTES, person=_PERSON).digest()
    return int.from_bytes(digest, "little") % count


def is_keyed(terms: Terms) -> bool:
    """Whether there may be another message that this one has to meet."""
    return terms.has_line or terms.stands_for_one


def place_of(destination: bytes, terms: Terms | None) -> bytes:
    """Where a message for this destination meets others, and b"" for one that has none to meet."""
    if terms is None or not is_keyed(terms):
        return b""
    place = terms.key_place
    if not place:
        return destination
    if place.startswith("group:"):
        return place_of_group(group_in_place(place))
    return place.encode("ascii")  # the destination that it had first


def place_of_group(name: str) -> bytes:
    """The place of a group, whose messages are stored together."""
    return _GROUP + name.encode("utf-8")


def group_of(place: bytes) -> str:
    """The name of the group whose place it is."""
    return place.removeprefix(_GROUP).decode("utf-8")
