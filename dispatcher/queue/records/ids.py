"""Ids of messages: partition, incarnation and position, as callers and destinations see them.

A function call has an id of the same form. In place of a position it has a number with the top bit
set, which no position ever has.
"""

from __future__ import annotations

from typing import Final

_FIRST_DIGIT_OF_CALLS: Final = ord("8")


def wire_id(partition: int, incarnation: int, position: int) -> bytes:
    """The id of a message as callers and destinations see it: 28 hexadecimal digits."""
    return b"%04x%08x%016x" % (partition, incarnation, position)


def id_parts(message_id: bytes) -> tuple[int, int, int]:
    """Partition, incarnation and position of an id as `wire_id` makes it."""
    return int(message_id[:4], 16), int(message_id[4:12], 16), int(message_id[12:], 16)


def is_call(message_id: bytes) -> bool:
    """Whether an id as `wire_id` makes it is that of a call."""
    return message_id[12] >= _FIRST_DIGIT_OF_CALLS
