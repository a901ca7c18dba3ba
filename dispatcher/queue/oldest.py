"""How old the oldest message is that waits: looked at now and then, for the metrics.

When a message was accepted is in its record, so it has to be read; the index knows only where. The
candidates are the first message of each lane and the first of the log; what waits for a retry and
was copied forward since is passed over.
"""

from __future__ import annotations

import asyncio
from itertools import islice

from dispatcher.errors import LogTrimmed
from dispatcher.queue.index import NO_SLOT
from dispatcher.queue.pending import Pending
from dispatcher.queue.readback import read_messages
from dispatcher.txlog import TransactionLog

LOOK_SECONDS = 5.0
_MOST_ENTRIES = 10_000


def oldest_slot(pending: Pending) -> int:
    """The slot of the oldest message, -1 when none waits."""
    index = pending.index
    if not index.count:
        return -1
    slots = [lane.head for lane in pending.lanes if lane.head != NO_SLOT]
    for position, slot in islice(pending.extents.oldest.entries(), _MOST_ENTRIES):
        if index.position[slot] == position and index.state[slot]:
            slots.append(slot)
            break
    return min(slots, key=index.id_position.__getitem__, default=-1)


class Oldest:
    """Looks every few seconds. `accepted_at` is in microseconds since the epoch, None when nothing
    waits."""

    def __init__(self, log: TransactionLog, pending: Pending, *, partition: int) -> None:
        self.accepted_at: int | None = None
        self._log = log
        self._pending = pending
        self._partition = partition
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Read the record of the oldest message."""
        slot = oldest_slot(self._pending)
        if slot < 0:
            self.accepted_at = None
            return
        try:
            (message,) = await read_messages(
                self._log, self._pending, [slot], partition=self._partition
            )
        except (LogTrimmed, OSError):
            return  # copied forward just now, or short of descriptors: the next look sees it
        self.accepted_at = message.accepted_at
