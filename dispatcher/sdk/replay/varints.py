"""Whole numbers of seven bits a byte, as protobuf has them: one, and columns of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

MOST_BYTES = 10
"""A number of 64 bits has no more; what does is no number."""


def put(out: bytearray, number: int) -> None:
    """Append a number that is not negative."""
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def get(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at `at`, and where it ends.

    Raises:
        ValueError: no number of 64 bits begins there.
        IndexError: the bytes end within it.
    """
    number = data[at]
    if number < 0x80:
        return number, at + 1
    number &= 0x7F
    for count in range(1, MOST_BYTES):
        byte = data[at + count]
        number |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return number, at + count + 1
    raise ValueError("a number that does not end")


def put_column(numbers: Iterable[int]) -> bytes:
    """Return numbers, none of them negative, one behind the other."""
    out = bytearray()
    for number in numbers:
        if number < 0x80:
            out.append(number)
        else:
            put(out, number)
    return bytes(out)


def get_column(data: bytes) -> list[int]:
    """Return the numbers of a column. Raises as `get` does."""
    if data.isascii():
        return list(data)  # each is one byte: by far the commonest
    numbers: list[int] = []
    at, end = 0, len(data)
    while at < end:
        byte = data[at]
        if byte < 0x80:
            numbers.append(byte)
            at += 1
        else:
            number, at = get(data, at)
            numbers.append(number)
    return numbers


def put_steps(numbers: Iterable[int]) -> bytes:
    """Return a column of the first number and of how far each is from the one before it, zigzag:
    0, -1, 1, -2 … are 0, 1, 2, 3 …. Numbers that count up take a byte each, however large."""
    before = 0
    steps = []
    for number in numbers:
        step = number - before
        steps.append(step << 1 if step >= 0 else (-step << 1) - 1)
        before = number
    return put_column(steps)


def get_steps(data: bytes) -> list[int]:
    """Return the numbers of such a column. Raises as `get` does."""
    return list(accumulate((step >> 1) ^ -(step & 1) for step in get_column(data)))
