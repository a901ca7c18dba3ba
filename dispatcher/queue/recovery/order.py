"""Which of the messages that are pending is the oldest: in this order they are lined up at a start.

All is yielded in portions, so that others get their turn in between.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from typing import Final

from dispatcher.queue.pending.order import PORTION, in_order
from dispatcher.queue.pending.pending import Pending

_READY: Final = 1  # `State.READY`: a member of an enum costs a look-up for every message


def lined_up(pending: Pending, late: dict[int, tuple[int, int]]) -> Iterator[list[int]]:
    """Do what `oldest_first` does, but a message that was redriven to stand behind its order key
    comes behind what was stored before that. `late` has, by slot, what that lies before, and the
    position of the message's id."""
    ids, states = pending.index.id_position, pending.index.state
    behind = {
        slot: after
        for slot, (after, position) in late.items()
        if slot < len(ids) and ids[slot] == position and states[slot] == _READY
    }
    waiting = deque(sorted(behind, key=lambda slot: (behind[slot], ids[slot])))
    for portion in oldest_first(pending):
        yield _with_late(portion, ids, behind, waiting) if behind else portion
    yield list(waiting)


def _with_late(
    portion: list[int], ids: array[int], behind: dict[int, int], waiting: deque[int]
) -> list[int]:
    slots: list[int] = []
    for slot in portion:
        while waiting and behind[waiting[0]] <= ids[slot]:
            slots.append(waiting.popleft())
        if slot not in behind:
            slots.append(slot)
    return slots


def oldest_first(pending: Pending) -> Iterator[list[int]]:
    """Slots of all messages that are READY by their id positions, in portions. At a start nearly
    all are.

    Those that lie where they were first stored are in order as they lie. The others are sorted
    first, and then merged with them.
    """
    if not pending.moved.count:
        yield from _as_they_lie(pending)
        return
    ids = pending.index.id_position
    moved = array("I")
    low, high = 1 << 64, 0
    for portion in _portions(pending, moved=True):
        low, high = (
            min([low, *(ids[slot] for slot in portion)]),
            max([high, *(ids[slot] for slot in portion)]),
        )
        yield []
    if low <= high:
        for portion in in_order(_moved_slots(pending), ids, low=low, high=high):
            moved.extend(portion)
            yield []
    at, count = 0, len(moved)
    for portion in _portions(pending, moved=False):
        merged = []
        for slot in portion:
            position = ids[slot]
            while at < count and ids[moved[at]] < position:
                merged.append(moved[at])
                at += 1
                if len(merged) >= PORTION:
                    yield merged
                    merged = []
            merged.append(slot)
        yield merged
    for start in range(at, count, PORTION):
        yield list(moved[start : start + PORTION])


def _moved_slots(pending: Pending) -> Iterator[int]:
    # Not a generator expression: compiled, that would be a list of all of them.
    for portion in _portions(pending, moved=True):
        yield from portion


def _portions(pending: Pending, *, moved: bool) -> Iterator[list[int]]:
    """The slots of messages that were, or were not, copied forward or redriven, in the order in
    which they lie in the log."""
    positions, ids = pending.index.position, pending.index.id_position
    for portion in _as_they_lie(pending):
        yield [slot for slot in portion if (ids[slot] != positions[slot]) is moved]


def _as_they_lie(pending: Pending) -> Iterator[list[int]]:
    """The slots of all messages, in the order in which they lie in the log."""
    positions, states = pending.index.position, pending.index.state
    for extent in pending.extents:
        start = extent.start
        for at in range(0, len(extent.slots), PORTION):
            offsets, slots = extent.offsets[at : at + PORTION], extent.slots[at : at + PORTION]
            yield [
                slot
                for offset, slot in zip(offsets, slots, strict=True)
                if positions[slot] == start + offset and states[slot] == _READY
            ]
