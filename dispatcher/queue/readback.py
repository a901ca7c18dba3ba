"""Messages in memory: those that were just accepted, and those read back because their turn is
near.

Memory holds the beginning of a lane at most (`Lane.warm`), and all lanes together no more than
`WARM_BYTES`, plus one message for each lane that has a turn: a backlog costs its index entries, not
its bodies.
"""

from __future__ import annotations

import errno

from dispatcher.core.message import Message
from dispatcher.errors import LogTrimmed
from dispatcher.queue.index import Index
from dispatcher.queue.lanes import Lane
from dispatcher.queue.pending import Pending
from dispatcher.queue.records import RecordError, decode_chunk, decode_retry, decode_stored
from dispatcher.txlog import TransactionLog

WARM_BYTES = 4 * 1024 * 1024
READ_BYTES = 512 * 1024
READ_MOST = 128
READ_AHEAD_BELOW = 32
_OBJECT_BYTES = 512  # a message's objects in memory besides its head and body, about


_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
AGAIN_SECONDS = 1.0


def is_passing(error: OSError) -> bool:
    """Whether nothing is wrong with the log: this process lacks something for a while, descriptors
    most likely. Then the read is made again after `AGAIN_SECONDS`."""
    return error.errno in _PASSING


class Warm:
    """Messages by slot, and how many bytes they take."""

    __slots__ = ("_messages", "reading_bytes", "size_bytes")

    def __init__(self) -> None:
        self._messages: dict[int, Message] = {}
        self.size_bytes = 0
        self.reading_bytes = 0  # what is being read back: a thousand lanes may ask at once

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def has_room(self) -> bool:
        """Whether one more may be kept."""
        return self.size_bytes + self.reading_bytes < WARM_BYTES

    def put(self, slot: int, message: Message) -> None:
        """Keep a message."""
        self._messages[slot] = message
        self.size_bytes += len(message.head) + len(message.body) + _OBJECT_BYTES

    def pop(self, slot: int) -> Message:
        """Take a message that is kept."""
        message = self._messages.pop(slot)
        self.size_bytes -= len(message.head) + len(message.body) + _OBJECT_BYTES
        return message

    def chill(self, lane: Lane, index: Index) -> None:
        """Drop what is kept for a lane that has no turn for a while."""
        for slot in lane.chill(index):
            self.pop(slot)


def next_to_read(lane: Lane, index: Index, *, has_room: bool) -> list[int]:
    """Slots of a lane that are to be read back now, in order: some of them, or the next one."""
    slots = lane.cold_slots(index, READ_MOST if has_room else 1)
    size = 0
    for count, slot in enumerate(slots):
        size += index.size[slot]
        if count and size > READ_BYTES:
            return slots[:count]
    return slots


async def read_messages(
    log: TransactionLog, pending: Pending, slots: list[int], *, partition: int
) -> list[Message]:
    """Read the messages of these slots back, with their attempts and history as they are at the
    call, in the order given.

    A slot may be settled or copied forward meanwhile: the caller sees whether what was read still
    counts. A record of another kind than the index says is a mistake in this program, not damage of
    the disk: `RecordError`.

    Raises:
        LogCorrupt: the disk gave back something else than was written.
        LogTrimmed: a message was copied forward at the same time; ask again.
    """
    index = pending.index
    # The newest RETRY record may still be on its way, or not be written at all while the disk is
    # full. The index has counted it.
    attempts = [index.attempts[slot] for slot in slots]
    unwritten = [(slot, pending.unwritten[slot]) for slot in slots if slot in pending.unwritten]
    positions = [index.position[slot] for slot in slots]
    tried = [slot for slot in slots if index.retry[slot] and slot not in pending.unwritten]
    positions += [index.retry[slot] for slot in tried]
    payloads = await log.read(positions)
    messages = []
    by_slot = {}
    for slot, position, payload in zip(slots, positions, payloads, strict=False):
        message = decode_stored(position, payload, partition)
        message.slot = slot
        by_slot[slot] = message
        messages.append(message)
    for slot, payload in [*zip(tried, payloads[len(slots) :], strict=True), *unwritten]:
        retry = decode_retry(payload)
        message = by_slot[slot]
        if retry.position != message.position:
            raise RecordError(f"a retry of message {retry.position} where {message.position} was")
        message.history = retry.history
    for message, made in zip(messages, attempts, strict=True):
        message.attempt = made
    return messages


class Bodies:
    """Reads the chunks of large bodies back (`ports.BodySource`), wherever they are by now."""

    __slots__ = ("_log", "_pending")

    def __init__(self, log: TransactionLog, pending: Pending) -> None:
        self._log = log
        self._pending = pending

    async def read(self, positions: list[int]) -> list[bytes]:
        """The data of these chunk records, in order.

        A body that is copied forward while it is delivered is read from its new place.
        """
        while True:
            now = [self._where(position) for position in positions]
            try:
                return [decode_chunk(payload) for payload in await self._log.read(now)]
            except LogTrimmed:
                if now == [self._where(position) for position in positions]:
                    raise

    def _where(self, position: int) -> int:
        relocated = self._pending.relocated
        while position in relocated:
            position = relocated[position]
        return position
