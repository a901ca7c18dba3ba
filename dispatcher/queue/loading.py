"""Reading the beginning of a lane back into memory, while other lanes are served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.core.message import Message
from dispatcher.errors import LogError, LogTrimmed
from dispatcher.queue.lanes import Lane
from dispatcher.queue.pending import Pending
from dispatcher.queue.readback import AGAIN_SECONDS, Warm, is_passing, next_to_read, read_messages
from dispatcher.queue.records import RecordError
from dispatcher.txlog import TransactionLog


class Loading:
    """Reads lanes back, one read at a time for each of them.

    `loaded` is called when a lane may wait for a turn again; `failed` when the log could not be
    read: the process must end.
    """

    def __init__(
        self,
        log: TransactionLog,
        pending: Pending,
        warm: Warm,
        *,
        partition: int,
        loaded: Callable[[Lane], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._log = log
        self._pending = pending
        self._warm = warm
        self._partition = partition
        self._loaded = loaded
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, lane: Lane) -> None:
        """Read the lane's next messages back, unless that is under way."""
        if lane.loading:
            return
        index = self._pending.index
        slots = next_to_read(lane, index, has_room=self._warm.has_room)
        if not slots:
            return
        lane.loading = True
        size = sum(index.size[slot] for slot in slots)
        self._warm.reading_bytes += size  # now, not when the task begins: others ask meanwhile
        task = asyncio.get_running_loop().create_task(self._load(lane, slots, size))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, lane: Lane, slots: list[int], size: int) -> None:
        try:
            messages = await read_messages(
                self._log, self._pending, slots, partition=self._partition
            )
        except LogTrimmed:  # copied forward meanwhile: read again where it is now
            messages = []
        except OSError as error:
            if not is_passing(error):
                self._failed(error)
                return
            await asyncio.sleep(AGAIN_SECONDS)
            messages = []
        except (LogError, RecordError) as error:
            self._failed(error)
            return
        finally:
            self._warm.reading_bytes -= size
        lane.loading = False
        if messages and self._are_next(lane, slots, messages):
            for slot, message in zip(slots, messages, strict=True):
                self._warm.put(slot, message)
            lane.warmed(self._pending.index, slots)
        self._loaded(lane)

    def _are_next(self, lane: Lane, slots: list[int], messages: list[Message]) -> bool:
        """Whether what was read is still next in turn: a lane that was left alone meanwhile begins
        with a colder message again, and a message may have been cancelled."""
        index = self._pending.index
        return lane.cold_slots(index, len(slots)) == slots and all(
            index.holds(slot, message.position)
            for slot, message in zip(slots, messages, strict=True)
        )

    async def stop(self) -> None:
        """Read no more. Idempotent."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
