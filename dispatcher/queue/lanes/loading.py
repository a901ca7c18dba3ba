"""Reading the beginning of a lane back into memory, while other lanes are served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.message import Message
from dispatcher.errors import LogBusy
from dispatcher.queue.bodies.readback import AGAIN_SECONDS, read_messages
from dispatcher.queue.lanes.lanes import NOTHING, Lane
from dispatcher.queue.lanes.warm import OBJECT_BYTES, Warm, next_to_read
from dispatcher.queue.lanes.workers import Workers
from dispatcher.queue.pending.pending import Pending
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog


class Loading:
    """Reads lanes back, one read at a time for each of them.

    A lane is read when its turn has come; what its attempt will take up (`lanes.workers`) is kept
    for it meanwhile, so no more lanes are being read than attempts could start. And it is read
    ahead while attempts of it are under way, as far as there is room.

    `loaded` is called when a lane may wait for a turn again, and with whether its turn had come;
    `failed` when the log could not be read: the process must end.
    """

    def __init__(
        self,
        log: TransactionLog,
        pending: Pending,
        warm: Warm,
        workers: Workers,
        supervisor: Supervisor,
        *,
        partition: int,
        loaded: Callable[[Lane, bool], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._log = log
        self._pending = pending
        self._warm = warm
        self._workers = workers
        self._partition = partition
        self._loaded = loaded
        self._failed = failed
        self._supervisor = supervisor

    def read_ahead(self, lane: Lane) -> None:
        """Read the lane's next messages back where there is room, unless that is under way."""
        if 2 * lane.warm > lane.appetite:
            return
        left_bytes = self._warm.room.left_bytes
        slots = next_to_read(lane, self._pending.index, left_bytes=left_bytes)
        if slots and not lane.loading and self._bytes_of(slots) <= left_bytes:
            self._begin(lane, slots)

    def read(self, lane: Lane, kind: int) -> bool:
        """Read the next message back of a lane whose turn has come, and more where there is room;
        False: there is no room for one now, all of it is being read. `kind` is what the attempt
        that follows takes up."""
        room = self._warm.room
        slots = next_to_read(lane, self._pending.index, left_bytes=room.left_bytes)
        if not room.make(self._bytes_of(slots)):
            return False
        lane.reserved = kind
        self._workers.reserve(kind)
        self._begin(lane, slots)
        return True

    def _bytes_of(self, slots: list[int]) -> int:
        sizes = self._pending.index.size
        return sum(sizes[slot] + OBJECT_BYTES for slot in slots)

    def _begin(self, lane: Lane, slots: list[int]) -> None:
        lane.loading = True
        size = self._bytes_of(slots)
        room = self._warm.room
        room.reading_bytes += size  # now, not when the task begins: others ask meanwhile
        if room.is_roomy:
            lane.reads_more()
        self._supervisor.spawn("reading back", self._load(lane, slots, size))

    async def _load(self, lane: Lane, slots: list[int], size: int) -> None:
        try:
            messages = await read_messages(
                self._log, self._pending, slots, partition=self._partition
            )
        except (LogBusy, MemoryError):
            await asyncio.sleep(AGAIN_SECONDS)
            messages = None
        except Exception as error:  # the lane would load for ever, and silently
            self._failed(error)
            return
        finally:
            self._warm.room.reading_bytes -= size
            lane.loading = False
            kind, lane.reserved = lane.reserved, NOTHING
            self._workers.release(kind)
        if messages and self._are_next(lane, slots, messages):
            for slot, message in zip(slots, messages, strict=True):
                self._warm.put(lane, slot, message)
            lane.warmed(self._pending.index, slots)
            if kind != NOTHING:
                self._warm.room.keep(lane)
        self._loaded(lane, kind != NOTHING)

    def _are_next(self, lane: Lane, slots: list[int], messages: list[Message]) -> bool:
        """Whether what was read is still next in turn: a lane that was left alone meanwhile begins
        with a colder message again, and a message may have been cancelled."""
        index = self._pending.index
        return lane.cold_slots(index, len(slots)) == slots and all(
            index.holds(slot, message.position, message.incarnation)
            for slot, message in zip(slots, messages, strict=True)
        )
