"""What a message has to meet others by, where these may lie in a partition of before. Pure.

A place is spread over the partitions that there are (`placing`). When their number changes, what
has a key stays where it lies, and its key with it, until nothing of it is left there. So before a
message goes to the partition of its place, the partitions that the place had before are asked
whether they know one of its keys.

A message may have several keys, and be wanted in several partitions. Whether it is stored at all
depends on its idempotency key, so that decides first; then its order key, for a promise, and last
its flow key. Of those that know a key the latest counts: later messages followed it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from dispatcher.core.placing import partition_of
from dispatcher.core.terms import Terms


class KeyKind(IntEnum):
    """What a key is for. The numbers are sent to other processes."""

    IDEMPOTENCY = 1
    """One at a place (`Terms.key_place`, or a destination)."""
    GROUP = 2
    """One at a group: it stands for a message to each member."""
    COPY = 3
    """The id that an imported message had, a blank, and its print."""
    ORDER = 4
    FLOW = 5

    @property
    def stands_for_one(self) -> bool:
        """Whether a message whose key is known is not stored."""
        return self < KeyKind.ORDER


class Key(NamedTuple):
    """One key, and the place that it belongs to: a destination's key, or that of a group."""

    kind: KeyKind
    place: bytes
    text: str


Keys = Sequence[Key]
"""Those of one message, or of several that are stored together; what decides first comes first."""


def keys_of(destination: bytes, terms: Terms) -> Keys:
    """Those of a message for a destination."""
    owner = terms.key_place.encode("ascii") or destination
    found: list[Key] = []
    if terms.copy_of:
        found.append(Key(KeyKind.COPY, owner, f"{terms.copy_of} {terms.request_print:x}"))
    elif terms.idempotency_key:
        found.append(Key(KeyKind.IDEMPOTENCY, owner, terms.idempotency_key))
    return [*found, *lines_of([destination], terms.order_key, terms.flow_key)]


def keys_of_all(place: bytes, destinations: Iterable[bytes], terms: Terms | None) -> Keys:
    """Those of messages to the members of a group, whose `place` it is; `terms` are those of one of
    them."""
    if terms is None:
        return ()
    found = lines_of(destinations, terms.order_key, terms.flow_key)
    if terms.idempotency_key:
        return [Key(KeyKind.GROUP, place, terms.idempotency_key), *found]
    return found


def lines_of(destinations: Iterable[bytes], order_key: str, flow_key: str) -> list[Key]:
    """The keys by which messages wait for others at these destinations."""
    every = list(dict.fromkeys(destinations))
    orders = [Key(KeyKind.ORDER, one, order_key) for one in every if order_key]
    return orders + [Key(KeyKind.FLOW, one, flow_key) for one in every if flow_key]


def candidates(place: bytes, spread: int, former: Iterable[int]) -> list[int]:
    """The partitions in which a message for a place may have to lie, the latest first: that of the
    `spread` in force, and those of former ones, in that order."""
    numbers = (partition_of(place, one) for one in (spread, *former))
    return list(dict.fromkeys(numbers))


def decide(keys: Keys, known: Sequence[tuple[int, int]]) -> tuple[int, Key | None]:
    """The partition that takes a message, and the key that it goes by; None: nobody knew one.

    `known` has the candidates, the latest first, each with a bit for each key that it knows, the
    first key's the lowest.
    """
    for bit, key in enumerate(keys):
        for number, mask in known:
            if mask >> bit & 1:
                return number, key
    return known[0][0], None
