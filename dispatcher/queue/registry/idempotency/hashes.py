"""What the idempotency keys of a message are known by. Pure."""

from __future__ import annotations

from dispatcher.core.idempotency import copy_hash, key_hash
from dispatcher.core.terms import Terms
from dispatcher.queue.registry.idempotency.block import Entry


def deciding(terms: Terms, destination: bytes) -> bytes:
    """What it depends on whether a message is a duplicate: of what was imported that is the id it
    had, so that nothing is lost which had a key that another message has here."""
    place = _place(terms, destination)
    if terms.copy_of:
        return copy_hash(place, terms.copy_of, terms.request_print)
    return key_hash(place, terms.idempotency_key)


def _place(terms: Terms, destination: bytes) -> bytes:
    """What the keys of a message belong to."""
    return terms.key_place.encode("ascii") or destination


def entries_of(
    terms: Terms,
    destination: bytes,
    position: int,
    incarnation: int,
    at_us: int,
    *,
    undelivered: bool = False,
) -> list[tuple[Entry, bool]]:
    """The entries of a message's keys, and whether each key was free when the message came.

    `destination` is `scheme://host[:port]`; position and incarnation name the message; `at_us` is
    when its window begins, by the queue's clock.
    """
    if not terms.copy_of and not terms.idempotency_key:
        return []
    hashes = [(deciding(terms, destination), True)]
    if terms.copy_of and terms.idempotency_key:
        hashes.append((key_hash(_place(terms, destination), terms.idempotency_key), False))
    return [
        (Entry(hashed, terms.request_print, position, incarnation, at_us, undelivered), was_free)
        for hashed, was_free in hashes
    ]
