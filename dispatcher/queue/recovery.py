"""From the records of the log to what is pending: the one recovery path.

`Recovery.visit` is called for every record of the log in order. It runs a million times at a start
with a million messages, so it reads no more of a record than it must. `finish` then lines the
messages up, oldest first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from dispatcher.core.message import Message
from dispatcher.errors import LogTooNew
from dispatcher.queue.index import State
from dispatcher.queue.pauses import Pauses
from dispatcher.queue.pending import Pending
from dispatcher.queue.records import (
    OVERHEAD_BYTES,
    STATELESS,
    Kind,
    decode_settled,
    decode_stored,
    message_facts,
    moved_facts,
    retry_facts,
)


class Recovery:
    """Rebuilds a `Pending` that is empty at the beginning. `lost` are the messages, by id position,
    that cannot be delivered because a part of their body was in a damaged part of the log."""

    def __init__(self, pending: Pending, pauses: Pauses) -> None:
        self._pending = pending
        self._pauses = pauses
        self._by_destination = {lane.destination.key: lane for lane in pending.lanes}
        self._first: int | None = None
        self._chunks: set[int] = set()
        self.lost: dict[int, Message] = {}
        self.records = 0
        self.settled = 0

    def visit(self, position: int, payload: bytes) -> None:
        """Take in the next record. Kinds that carry no state (chunks, probes) are passed over."""
        self.records += 1
        if self._first is None:
            self._first = position
        kind = payload[0]
        if kind == 1:
            self._message(position, payload)
            return
        if kind == Kind.MOVED:
            self._moved(position, payload)
            return
        self._pending.extents.note(position, len(payload) + OVERHEAD_BYTES)
        if kind == Kind.SETTLED:
            self._settle(payload)
        elif kind == Kind.RETRY:
            self._retry(position, payload)
        elif kind == Kind.CHUNK:
            self._chunks.add(position)
        elif kind == Kind.PAUSED:
            self._pauses.visit(position, payload)
        elif kind not in STATELESS:
            # Passing over it could bring back what it says is over.
            raise LogTooNew(kind)

    def _message(self, position: int, payload: bytes) -> None:
        destination, body_size, chunks = message_facts(payload)
        if chunks and not self._is_whole(position, payload, chunks):
            return
        lane = self._by_destination.get(destination)
        if lane is None:
            lane = self._by_destination[destination] = self._pending.lanes.by_key(destination)
        slot = self._pending.add(position, lane, len(payload) + OVERHEAD_BYTES)
        if chunks:
            self._pending.own_chunks(slot, array("Q", payload[-8 * chunks :]), body_size)

    def _is_whole(self, position: int, payload: bytes, chunks: int) -> bool:
        """Whether all chunks of the message are there. If not, its record is passed over.

        Where one was trimmed, the message was settled or copied: nothing that is needed is ever
        trimmed. The record that says so may have been lost, because nobody waits for it to be
        durable. Otherwise the log was damaged, and repaired without them.
        """
        positions = array("Q", payload[-8 * chunks :])
        if self._chunks.issuperset(positions):
            return True
        self._pending.extents.note(position, len(payload) + OVERHEAD_BYTES)
        assert self._first is not None
        if min(positions) >= self._first:
            message = decode_stored(position, payload, 0)
            self.lost[message.position] = message
        return False

    def _settle(self, payload: bytes) -> None:
        pending = self._pending
        for position in decode_settled(payload):
            self.lost.pop(position, None)
            slot = pending.find(position)
            if slot >= 0:  # its record may be trimmed already
                pending.remove(slot)
                self.settled += 1

    def _retry(self, position: int, payload: bytes) -> None:
        id_position, attempts, due_at = retry_facts(payload)
        slot = self._pending.find(id_position)
        if slot >= 0:
            index = self._pending.index
            index.attempts[slot] = attempts
            index.due_at[slot] = due_at
            index.retry[slot] = position

    def _moved(self, position: int, payload: bytes) -> None:
        pending = self._pending
        index = pending.index
        id_position, attempts, due_at, start = moved_facts(payload)
        destination, body_size, chunks = message_facts(payload, start)
        slot = pending.find(id_position)
        size = len(payload) + OVERHEAD_BYTES
        if chunks and not self._is_whole(position, payload, chunks):
            if slot >= 0:
                pending.remove(slot)
            return
        self.lost.pop(id_position, None)
        if slot >= 0:
            pending.move(slot, position, size)
            if slot in pending.big:
                pending.disown_chunks(slot)
        else:
            slot = pending.add(position, pending.lanes.by_key(destination), size)
            index.id_position[slot] = id_position
            pending.moved.add(slot)
        index.attempts[slot] = attempts
        index.due_at[slot] = due_at
        if chunks:
            pending.own_chunks(slot, array("Q", payload[-8 * chunks :]), body_size)

    def finish(self, now_us: int, latest_us: int) -> None:
        """Line up what is pending: oldest first in each lane, retries that are not due in the
        timers.

        No retry waits beyond `latest_us`: the clock may have been wrong when its time was chosen (a
        machine that was started before its clock was set), or RETRY_MAX_DELAY may be less now.
        """
        self._chunks.clear()
        pending = self._pending
        index = pending.index
        due_at = index.due_at
        by_number = pending.lanes.by_number
        for slot in self._in_order():
            if due_at[slot] > now_us:
                pending.schedule(slot, min(due_at[slot], latest_us), now_us)
            else:
                by_number[index.lane[slot]].push(index, slot, warm=False)

    def _in_order(self) -> Iterable[int]:
        index = self._pending.index
        positions = index.position
        slots = array(
            "I",
            (
                slot
                for extent in self._pending.extents
                for position, slot in extent.entries()
                if positions[slot] == position and index.state[slot] != State.FREE
            ),
        )
        if self._pending.moved.count:
            return sorted(slots, key=index.id_position.__getitem__)
        return slots
