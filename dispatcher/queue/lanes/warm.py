"""Messages in memory: those that were just accepted, and those read back because their turn has
come or is near.

Memory holds the beginning of a lane at most (`Lane.warm`), and all lanes of a process together no
more than `Room.most_bytes`: a backlog costs its index entries, not its bodies. A lane whose turn
has come always finds room, unless all of it is being read just then: what is kept for lanes that
are later in turn gives way.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from dispatcher.core.message import Message
from dispatcher.queue.lanes.lanes import Home, Lane
from dispatcher.queue.pending.index import Index

WARM_BYTES = 4 * 1024 * 1024
READ_BYTES = 512 * 1024
READ_AHEAD_BELOW: Final = 32
_FULL: Final = 4
OBJECT_BYTES = 512
"""A message's objects in memory besides its head and body, about."""


class Room:
    """The memory for messages that wait, one for a process. `reading_bytes` are being read back."""

    __slots__ = ("_lanes", "most_bytes", "reading_bytes", "size_bytes")

    def __init__(self, most_bytes: int = WARM_BYTES) -> None:
        self.most_bytes = most_bytes
        self.size_bytes = 0
        self.reading_bytes = 0
        # Lanes with messages in memory; the one that came last is most likely the last in turn.
        self._lanes: OrderedDict[Lane, None] = OrderedDict()

    @property
    def left_bytes(self) -> int:
        """What may be taken still."""
        return self.most_bytes - self.size_bytes - self.reading_bytes

    @property
    def is_roomy(self) -> bool:
        """Whether lanes may keep more than they do."""
        return self.left_bytes > self.most_bytes // _FULL

    def make(self, size_bytes: int) -> bool:
        """Make room for so many bytes; False: not now, all of it is being read."""
        while self.left_bytes < size_bytes and self._lanes:
            lane = next(reversed(self._lanes))
            lane.reads_less()
            lane.home.chill(lane)
        return self.left_bytes >= size_bytes or not (self.size_bytes or self.reading_bytes)

    def enter(self, lane: Lane) -> None:
        """A lane has a message in memory."""
        self._lanes[lane] = None

    def keep(self, lane: Lane) -> None:
        """The lane is next in turn: all others give way before it does."""
        if lane in self._lanes:
            self._lanes.move_to_end(lane, last=False)

    def leave_all(self, home: Home) -> None:
        """A partition ends: nothing of it is kept."""
        for lane in [lane for lane in self._lanes if lane.home is home]:
            home.chill(lane)

    def leave(self, lane: Lane) -> None:
        """A lane has none any more. Idempotent."""
        self._lanes.pop(lane, None)


class Warm:
    """The messages of one partition that are in memory, by slot."""

    __slots__ = ("_index", "_messages", "room")

    def __init__(self, index: Index, room: Room) -> None:
        self._messages: dict[int, Message] = {}
        self._index = index
        self.room = room

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, slot: int) -> bool:
        return slot in self._messages

    def get(self, slot: int) -> Message | None:
        """The message of a slot; None: it is not in memory."""
        return self._messages.get(slot)

    def fits(self, message: Message) -> bool:
        """Whether a message may be kept."""
        return _size(message) <= self.room.left_bytes

    def put(self, lane: Lane, slot: int, message: Message) -> None:
        """Keep a message of a lane."""
        self._messages[slot] = message
        self.room.size_bytes += _size(message)
        self.room.enter(lane)

    def take(self, lane: Lane) -> Message:
        """Take the first message of a lane, which must be warm, out of both."""
        slot = lane.pop(self._index)
        message = self._messages.pop(slot)
        message.slot = slot
        self.room.size_bytes -= _size(message)
        if not lane.warm:
            self.room.leave(lane)
        return message

    def drop(self, lane: Lane, slot: int) -> None:
        """Drop a message that was just taken out of its lane."""
        self.room.size_bytes -= _size(self._messages.pop(slot))
        if not lane.warm:
            self.room.leave(lane)

    def chill(self, lane: Lane) -> None:
        """Drop what is kept for a lane."""
        for slot in lane.chill(self._index):
            self.room.size_bytes -= _size(self._messages.pop(slot))
        self.room.leave(lane)


def next_to_read(lane: Lane, index: Index, *, left_bytes: int) -> list[int]:
    """Slots of a lane that are to be read back now, in order: the next one, and more of them as far
    as they fit into `left_bytes`."""
    most = lane.appetite if left_bytes > 0 else 1
    slots = lane.cold_slots(index, most)
    size = 0
    for count, slot in enumerate(slots):
        size += index.size[slot] + OBJECT_BYTES
        if count and size > min(READ_BYTES, left_bytes):
            return slots[:count]
    return slots


def _size(message: Message) -> int:
    return len(message.head) + len(message.body) + OBJECT_BYTES
