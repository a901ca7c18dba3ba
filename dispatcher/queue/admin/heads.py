"""Since when the first message of a lane has been waiting: read back where nobody knows it.

When a message was accepted is in its record. What was read is remembered in the lane, so a
destination that takes nothing costs one reading, however often somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dispatcher.errors import LogBusy, LogCorrupt, LogTrimmed
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.waiting import READ_BYTES, READ_MOST
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.queue.pending.index import NO_SLOT, Index
from dispatcher.queue.records.kinds import RecordError

_AT_ONCE: Final = READ_MOST
_BYTES_AT_ONCE: Final = READ_BYTES
_LANES_AT_ONCE: Final = 100
_MOST_BYTES: Final = 8 * 1024 * 1024
"""What is read for one look; the next one goes on from there."""


async def learn_heads(parts: Parts, lanes: Sequence[Lane], pace: Pace) -> None:
    """Find out when the first messages of these lanes were accepted, as far as they can be read."""
    index = parts.pending.index
    for number, lane in enumerate(lanes):
        if not number % _LANES_AT_ONCE and pace.is_over:
            await pace.rest()
        if (message := parts.warm.get(lane.head)) is not None:
            lane.head_id, lane.head_at = message.position, message.accepted_at
    left = _MOST_BYTES
    for some in _portions([lane for lane in lanes if _is_unknown(lane, index)], index):
        if left <= 0:
            return
        if not some:
            continue
        slots = [lane.head for lane in some]
        left -= sum(index.size[slot] for slot in slots)
        try:
            found = await read_messages(parts.log, parts.pending, slots, partition=parts.partition)
        except (LogBusy, LogCorrupt, LogTrimmed, RecordError):
            return  # whoever needs these messages says what is wrong
        for lane, message in zip(some, found or (), strict=False):
            lane.head_id, lane.head_at = message.position, message.accepted_at
        await pace.rest()


def oldest_at(lane: Lane, index: Index) -> int | None:
    """When the oldest message was accepted that waits for its turn or for another attempt, as far
    as it is known; None: none waits, or nobody knows."""
    found = []
    if lane.head != NO_SLOT and not _is_unknown(lane, index):
        found.append(lane.head_at)
    if lane.has_tried(index):
        found.append(lane.tried_at)
    return min(found, default=None)


def _is_unknown(lane: Lane, index: Index) -> bool:
    return lane.head != NO_SLOT and lane.head_id != index.id_position[lane.head]


def _portions(lanes: Sequence[Lane], index: Index) -> Iterator[list[Lane]]:
    """Lanes in portions that are read at once, each chosen when it is asked for: messages are
    delivered meanwhile."""
    at = 0
    while at < len(lanes):
        some: list[Lane] = []
        size = 0
        while at < len(lanes) and len(some) < _AT_ONCE and size < _BYTES_AT_ONCE:
            lane = lanes[at]
            at += 1
            if lane.head != NO_SLOT:
                some.append(lane)
                size += index.size[lane.head]
        yield some
