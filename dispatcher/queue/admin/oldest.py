"""How old the oldest message is that waits: looked at now and then, for the metrics.

When a message was accepted is in its record, so it has to be read; the index knows only where. The
candidates are the first message of each lane and the first of the log; what waits for a retry and
was copied forward since is passed over.
"""

from __future__ import annotations

import asyncio
from itertools import islice

from dispatcher.core.clock import SteadyClock
from dispatcher.errors import LogBusy, LogTrimmed
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.lanes.lanes import Lane, Lanes
from dispatcher.queue.pending.index import NO_SLOT, State
from dispatcher.queue.pending.pending import Pending
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog

LOOK_SECONDS = 5.0
_MOST_ENTRIES = 2_000
_LANES_AT_ONCE = 1_000
"""Lanes that are looked at before others get their turn."""


async def oldest_slot(pending: Pending, lanes: Lanes) -> int:
    """The slot of the oldest message, -1 when none waits. Others get their turn in between, so it
    may be settled by now: whoever reads it has to see."""
    index = pending.index
    oldest, position = -1, 1 << 64
    for start in range(0, len(lanes.by_number), _LANES_AT_ONCE):
        for lane in lanes.by_number[start : start + _LANES_AT_ONCE]:  # forgotten ones are empty
            if lane.head != NO_SLOT and index.id_position[lane.head] < position:
                oldest, position = lane.head, index.id_position[lane.head]
        await asyncio.sleep(0)
    for lies_at, slot in islice(pending.extents.oldest.entries(), _MOST_ENTRIES):
        if slot < index.slots and index.position[slot] == lies_at and index.state[slot]:
            return slot if index.id_position[slot] < position else oldest
    return oldest


class Oldest:
    """Looks every few seconds. `accepted_at` is in microseconds since the epoch, None when nothing
    waits. `lane` is that of the message, and `is_delayed`: its first attempt is to come later, as
    its caller asked for."""

    def __init__(
        self,
        log: TransactionLog,
        pending: Pending,
        lanes: Lanes,
        *,
        partition: int,
        clock: SteadyClock,
    ) -> None:
        self.accepted_at: int | None = None
        self.lane: Lane | None = None
        self.is_delayed = False
        self._log = log
        self._pending = pending
        self._lanes = lanes
        self._clock = clock
        self._partition = partition

    def age_us(self) -> int:
        """How long the oldest message has been waiting, as of a few seconds ago; 0: none waits."""
        accepted_at = self.accepted_at
        return 0 if accepted_at is None else max(0, self._clock.wall_us() - accepted_at)

    def start(self, supervisor: Supervisor) -> None:
        """Begin to look."""
        supervisor.forever("oldest message", self.look, every_s=LOOK_SECONDS)

    async def look(self) -> None:
        """Read the record of the oldest message."""
        index = self._pending.index
        slot = await oldest_slot(self._pending, self._lanes)
        if slot < 0 or slot >= index.slots or not index.state[slot]:
            self.accepted_at = self.lane = None
            return
        try:
            messages = await read_messages(
                self._log, self._pending, [slot], partition=self._partition
            )
        except (LogBusy, LogTrimmed):
            return  # short of descriptors: the next look sees it; gone: whoever needs it says so
        if messages is not None:
            self.accepted_at = messages[0].accepted_at
            self.lane = self._lanes.find(messages[0].destination.key)
            self.is_delayed = index.state[slot] == State.SCHEDULED and not messages[0].attempt
