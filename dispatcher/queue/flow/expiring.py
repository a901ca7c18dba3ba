"""Giving up messages that have waited longer than `MAX_AGE`, whatever they wait for.

The oldest is always at hand (`pending.ages`), so nothing is looked through. A message that waits
for a retry becomes ready at its last moment (`core.verdict`), and one whose attempt is under way is
judged when that has ended. The others are read back, some at a time, and made dead letters; they
are in memory only until those are durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.verdict import DeadReason
from dispatcher.errors import LogBusy
from dispatcher.queue.bodies.readback import AGAIN_SECONDS, read_messages
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.plain import Handler
from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.warm import Warm
from dispatcher.queue.pending.index import NO_SLOT, State
from dispatcher.queue.pending.pending import Pending
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog

_LOOK_SECONDS = 0.5
_MOST_AT_ONCE = 64
_BYTES_AT_ONCE = 1024 * 1024


class Expiring:
    """Looks twice a second, where there is a maximum age. `failed` is called when the log could not
    be read: the process must end."""

    def __init__(
        self,
        log: TransactionLog,
        pending: Pending,
        lanes: Lanes,
        *,
        partition: int,
        lineup: Lineup,
        warm: Warm,
        dead_letters: DeadLetters,
        handlers: Sequence[Handler],
        figures: Figures,
        clock: SteadyClock,
        failed: Callable[[Exception], None],
    ) -> None:
        self._log = log
        self._pending = pending
        self._lanes = lanes
        self._partition = partition
        self._lineup = lineup
        self._warm = warm
        self._dead_letters = dead_letters
        self._handlers = handlers
        self._figures = figures
        self._clock = clock
        self._failed = failed
        self._is_closed = False
        self._out: deque[int] = deque()

    def start(self, supervisor: Supervisor) -> None:
        """Begin to look, if there is a maximum age."""
        if self._pending.ages is not None:
            supervisor.forever("expiring messages", self.look, every_s=_LOOK_SECONDS)

    def close(self) -> None:
        """Give up no more messages. Idempotent."""
        self._is_closed = True

    async def look(self) -> None:
        """Give up all messages that have waited for too long."""
        while True:
            self._find()
            slots = self._next()
            if not slots:
                return
            messages = deque(await self._read(slots))
            try:
                while messages:
                    self._give_up(messages[0])
                    messages.popleft()
            finally:
                # One that fails is tried again after the others, with the next look.
                messages.rotate(-1)
                self._out.extend(message.slot for message in messages)
            await asyncio.sleep(0)

    def _give_up(self, message: Message) -> None:
        if message.chunks is not None:  # they may have been copied since it was read
            message.chunks = tuple(self._pending.owned.by_slot[message.slot][0])
        result = AttemptResult(None, Failure.EXPIRED, "it waited longer than MAX_AGE", 0)
        self._handlers[message.kind].give_up(message, result, DeadReason.EXPIRED)

    def take_out(self, slot: int) -> None:
        """A READY message has waited for too long: take it out of its lane, and give it up as soon
        as that is sure."""
        ages, index = self._pending.ages, self._pending.index
        assert ages is not None
        lane = self._lanes.by_number[index.lane[slot]]
        warm = slot in self._warm
        self._lineup.take_out(slot, warm=warm)
        if warm:
            self._warm.drop(lane, slot)
        now_us = self._clock.now_us()
        if ages.is_doubtful(slot, now_us):  # neither sent nor given up before it is sure
            self._lineup.schedule(slot, ages.sure_at_us, now_us)
            return
        self._lineup.bury(slot)
        self._figures.burying += 1
        ages.remove(slot)
        self._out.append(slot)

    def _find(self) -> None:
        """Take out some of the messages that have expired, oldest first."""
        ages, index = self._pending.ages, self._pending.index
        if ages is None:
            return
        now_us = self._clock.now_us()
        ages.ahead_us = max(0, now_us - self._clock.wall_us())
        while (slot := ages.first) != NO_SLOT and ages.expires_us(slot) <= now_us:
            if len(self._out) >= _MOST_AT_ONCE or self._is_closed or self._is_full:
                return
            if ages.is_doubtful(slot, now_us):
                return
            match index.state[slot]:
                case State.SCHEDULED:
                    return  # its timer is due, and lets it wait for its turn
                case State.READY:
                    self.take_out(slot)
                case _:
                    ages.remove(slot)

    def _next(self) -> list[int]:
        slots: list[int] = []
        size = 0
        while self._out and len(slots) < _MOST_AT_ONCE and size < _BYTES_AT_ONCE:
            slots.append(self._out.popleft())
            size += self._pending.index.size[slots[-1]]
        return slots

    @property
    def _is_full(self) -> bool:
        return self._dead_letters.is_behind

    async def _read(self, slots: list[int]) -> list[Message]:
        while True:
            try:
                messages = await read_messages(
                    self._log, self._pending, slots, partition=self._partition
                )
            except (LogBusy, MemoryError):
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            except Exception as error:
                self._failed(error)
                raise
            if messages is not None:
                return messages
