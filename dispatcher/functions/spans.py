"""Spans: where in the log the bytes of an input, a state or a result are.

A span is one integer, because a hundred thousand suspended calls have a few each: the position of a
record, and offset and length of the bytes in its payload. Where the payload is too large for one
record, the position is that of the record that names its chunks, and the offset counts in what they
hold together.
"""

from __future__ import annotations

from typing import Final, NewType

Span = NewType("Span", int)

_BITS: Final = 26
"""Offsets and lengths are below 64 MiB: a batch or an answer has 16 MB."""
_MASK: Final = (1 << _BITS) - 1
MOST_BYTES: Final = _MASK


def span(position: int, offset: int, length: int) -> Span:
    """Name `length` bytes from `offset` on in the payload of the record at `position`."""
    assert 0 <= offset <= _MASK
    assert 0 <= length <= _MASK
    return Span(position << 2 * _BITS | offset << _BITS | length)


def position_of(where: Span) -> int:
    """The position of its record."""
    return where >> 2 * _BITS


def offset_of(where: Span) -> int:
    """Where it begins in the payload."""
    return where >> _BITS & _MASK


def length_of(where: Span) -> int:
    """How many bytes it has."""
    return where & _MASK
