"""Sorting slots without an object for each: a million of them take four megabytes, not a hundred.

Slots are dealt out to buckets by their keys, and the buckets to smaller ones, until one is small
enough to be sorted as a list. It goes in portions, so that whoever iterates can let others run.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

PORTION = 1000
"""Slots that are looked at before others get their turn: about half a millisecond."""
_BUCKETS = 256


def in_order(slots: Iterable[int], keys: array[int], *, low: int, high: int) -> Iterator[list[int]]:
    """The slots by ascending key, at most `PORTION` at a time; an empty portion is nothing but a
    moment to let others run.

    Args:
        slots: gone through once.
        keys: of each slot, from `low` to `high`, both included.
    """
    stack: list[tuple[Sequence[int], int, int]] = []
    yield from _deal(slots, keys, low, high, stack)
    while stack:
        part, low, high = stack.pop()
        if low == high:
            for start in range(0, len(part), PORTION):
                yield list(part[start : start + PORTION])
        elif len(part) <= PORTION:
            yield sorted(part, key=keys.__getitem__)
        else:
            yield from _deal(part, keys, low, high, stack)


def _deal(
    slots: Iterable[int],
    keys: array[int],
    low: int,
    high: int,
    stack: list[tuple[Sequence[int], int, int]],
) -> Iterator[list[int]]:
    """Put the slots on the stack in buckets, the one with the lowest keys on top."""
    width = (high - low) // _BUCKETS + 1
    buckets = [array("I") for _ in range(_BUCKETS)]
    left = iter(slots)
    while portion := list(islice(left, PORTION)):
        for slot in portion:
            buckets[(keys[slot] - low) // width].append(slot)
        yield []
    for number in reversed(range(_BUCKETS)):
        if buckets[number]:
            start = low + number * width
            stack.append((buckets[number], start, min(start + width - 1, high)))
