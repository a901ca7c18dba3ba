"""What is pending: index, extents and lanes kept in step.

Every change of what the queue holds in memory goes through here: a message enters, moves to another
place in the log, is scheduled, and leaves. Nothing here does I/O or decides anything.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from dispatcher.core.message import Message
from dispatcher.queue.extents import Extents
from dispatcher.queue.index import Index, State
from dispatcher.queue.lanes import Lane, Lanes
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records import OVERHEAD_BYTES
from dispatcher.queue.slotmap import SlotMap
from dispatcher.queue.timers import Timers

if TYPE_CHECKING:
    from dispatcher.queue.accepting import ChunkUpload


class Pending:
    """All pending messages of one partition.

    `big`              chunk positions and body size of the slots whose body is in chunk records.
    `unwritten`        the newest RETRY payload of slots for which it is not in the log yet.
    `relocated`        where chunk records are now that were copied while their body was in use.
    `uploading_bytes`  what chunk records take whose message does not exist yet.
    `uploads`          bodies that are still coming from their callers.
    """

    __slots__ = (
        "_left",
        "big",
        "extents",
        "index",
        "lanes",
        "moved",
        "relocated",
        "timers",
        "unwritten",
        "uploading_bytes",
        "uploads",
    )

    def __init__(self, lanes: Lanes) -> None:
        self.index = Index()
        self.extents = Extents()
        self.timers = Timers(self.index)
        self.moved = SlotMap(self.index)
        self.lanes = lanes
        self.big: dict[int, tuple[array[int], int]] = {}
        self.relocated: dict[int, int] = {}
        self.unwritten: dict[int, bytes] = {}
        self.uploading_bytes = 0
        self.uploads: set[ChunkUpload] = set()
        self._left: dict[int, list[int]] = {}  # keys of `relocated`, by slot

    def add(self, position: int, lane: Lane, size: int) -> int:
        """Enter a message whose record was just stored at `position`; returns its slot, READY, in
        no chain."""
        slot = self.index.add(position, lane.number, size)
        self.extents.put(position, slot, size)
        return slot

    def revive(self, message: Message, position: int, size: int) -> int:
        """Enter a message that was dead, whose record under its old id is at `position` now;
        returns its slot, IN_FLIGHT until somebody lines it up."""
        slot = self.add(position, self.lanes.of(message.destination), size)
        self.index.id_position[slot] = message.position
        self.index.state[slot] = State.IN_FLIGHT
        self.moved.add(slot)
        return slot

    def own_chunks(self, slot: int, chunks: array[int], body_size: int) -> None:
        """The chunk records at these positions are needed as long as the slot is."""
        self.big[slot] = (chunks, body_size)
        for position, size in chunk_sizes(chunks, body_size):
            self.extents.hold(position, size)
            self.index.live_bytes += size

    def disown_chunks(self, slot: int) -> None:
        """The chunk records of the slot are not needed any more."""
        chunks, body_size = self.big.pop(slot)
        for position, size in chunk_sizes(chunks, body_size):
            self.extents.release(position, size)
            self.index.live_bytes -= size

    def move_chunks(self, slot: int, chunks: array[int], body_size: int) -> None:
        """The chunk records of the slot were copied. An attempt that is under way still asks for
        the old positions, until it has ended."""
        if self.index.state[slot] == State.IN_FLIGHT:
            old = self.big[slot][0]
            self.relocated.update(zip(old, chunks, strict=True))
            self._left.setdefault(slot, []).extend(old)
        self.disown_chunks(slot)
        self.own_chunks(slot, chunks, body_size)

    def _forget_left(self, slot: int) -> None:
        for position in self._left.pop(slot, ()):
            del self.relocated[position]

    def find(self, id_position: int) -> int:
        """The slot of the pending message with this id position, or -1."""
        index = self.index
        slot = self.extents.find(id_position)
        if slot >= 0 and index.holds(slot, id_position):
            return slot
        return self.moved.find(id_position) if self.moved.count else -1

    def move(self, slot: int, position: int, size: int) -> None:
        """The slot's record was copied, and is at `position` now with all its history."""
        index = self.index
        self.extents.release(index.position[slot], index.size[slot])
        self.extents.put(position, slot, size)
        index.live_bytes += size - index.size[slot]
        index.position[slot] = position
        index.size[slot] = size
        index.retry[slot] = 0
        self.moved.add(slot)

    def remove(self, slot: int) -> None:
        """Forget a message that is settled; its slot must be in no chain."""
        index = self.index
        position = index.position[slot]
        self.extents.release(position, index.size[slot])
        if position != index.id_position[slot]:
            self.moved.discard(slot)
        if slot in self.big:
            self.disown_chunks(slot)
            self._forget_left(slot)
        if self.unwritten:
            self.unwritten.pop(slot, None)
        index.remove(slot)

    def unlink(self, slot: int) -> bool:
        """Take a READY or SCHEDULED slot out of its chain; returns whether its message is warm."""
        index = self.index
        lane = self.lanes.by_number[index.lane[slot]]
        warm = False
        if index.state[slot] == State.SCHEDULED:
            self.timers.remove(slot)
            lane.scheduled -= 1
        else:
            warm = lane.unlink(index, slot)
        index.state[slot] = State.IN_FLIGHT
        return warm

    def shrink(self) -> None:
        """Give memory back after a backlog."""
        if self.index.shrink():
            self.extents.forget_entries()

    def schedule(self, slot: int, due_at: int, now_us: int) -> None:
        """Let a message wait until `due_at` (microseconds since the epoch)."""
        index = self.index
        index.state[slot] = State.SCHEDULED
        index.due_at[slot] = due_at
        if self._left:
            self._forget_left(slot)
        self.lanes.by_number[index.lane[slot]].scheduled += 1
        self.timers.add(slot, now_us)

    def line_up(self, slot: int) -> Lane:
        """Put a message at the end of its lane, to be read back when its turn comes."""
        index = self.index
        index.state[slot] = State.READY
        lane = self.lanes.by_number[index.lane[slot]]
        lane.push(index, slot, warm=False)
        return lane

    def expire(self, now_us: int) -> list[Lane]:
        """Make messages READY whose retry is due; returns their lanes."""
        lanes = []
        for slot in self.timers.expire(now_us):
            lane = self.line_up(slot)
            lane.scheduled -= 1
            lanes.append(lane)
        return lanes


def chunk_sizes(chunks: array[int], body_size: int) -> list[tuple[int, int]]:
    """Position and size in the log of each chunk record: all are full but the last.

    Where a body came in smaller pieces the sizes are a guess, with the right sum.
    """
    before_last = len(chunks) - 1
    full = CHUNK_BYTES if CHUNK_BYTES * before_last <= body_size else body_size // len(chunks)
    sizes = [(position, full + OVERHEAD_BYTES) for position in chunks]
    sizes[-1] = (chunks[-1], body_size - full * before_last + OVERHEAD_BYTES)
    return sizes
