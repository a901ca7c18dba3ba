"""Giving up messages that have waited longer than `MAX_AGE`, or whose deadline has passed, whatever
they wait for.

Those are always at hand (`pending.ages`, `pending.deadlines`), so nothing is looked through. A
message that waits for a retry becomes ready at its last moment (`core.verdict`), and one whose
attempt is under way is judged when that has ended. The others are read back, some at a time, and
made dead letters; they are in memory only until those are durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.verdict import DeadReason
from dispatcher.errors import LogBusy
from dispatcher.queue.bodies.readback import AGAIN_SECONDS, read_messages
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.plain import Handler
from dispatcher.queue.lanes.lines import Lines
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.taking_out import TakingOut
from dispatcher.queue.pending.index import NO_SLOT, State
from dispatcher.queue.pending.pending import Pending
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog

_LOOK_SECONDS = 0.5
_MOST_AT_ONCE = 64
_BYTES_AT_ONCE = 1024 * 1024


class Expiring:
    """Looks twice a second, once there is a maximum age or a deadline. `failed` is called when the
    log could not be read: the process must end."""

    def __init__(
        self,
        log: TransactionLog,
        pending: Pending,
        *,
        partition: int,
        lineup: Lineup,
        lines: Lines,
        taking_out: TakingOut,
        dead_letters: DeadLetters,
        handlers: Sequence[Handler],
        figures: Figures,
        clock: SteadyClock,
        failed: Callable[[Exception], None],
    ) -> None:
        self._log = log
        self._pending = pending
        self._partition = partition
        self._lineup = lineup
        self._lines = lines
        self._taking_out = taking_out
        self._dead_letters = dead_letters
        self._handlers = handlers
        self._figures = figures
        self._clock = clock
        self._failed = failed
        self._is_closed = False
        self._out: deque[int] = deque()
        self._supervisor: Supervisor | None = None
        self._looks = False

    def start(self, supervisor: Supervisor) -> None:
        """Look from now on, if there is anything to look for, or as soon as there is."""
        self._supervisor = supervisor
        if self._pending.may_expire:
            self.begin()

    def begin(self) -> None:
        """There is something to look for. Idempotent."""
        if self._looks or self._supervisor is None or self._is_closed:
            return
        self._looks = True
        self._supervisor.forever("expiring messages", self.look, every_s=_LOOK_SECONDS)

    def close(self) -> None:
        """Give up no more messages. Idempotent."""
        self._is_closed = True

    async def look(self) -> None:
        """Give up all messages that have waited for too long."""
        while True:
            is_more = self._find()
            slots = self._next()
            if not slots:
                if not is_more:
                    return
                await asyncio.sleep(0)
                continue
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
        terms = message.terms
        is_late = terms is not None and 0 < terms.deadline_us <= self._clock.wall_us()
        is_late = is_late or self._pending.ages is None  # by a clock that was set back since
        detail = "its deadline has passed" if is_late else "it waited longer than MAX_AGE"
        result = AttemptResult(None, Failure.EXPIRED, detail, 0)
        self._handlers[message.kind].give_up(message, result, DeadReason.EXPIRED)

    def take_out(self, slot: int) -> None:
        """A message that is READY or BEHIND has waited for too long: take it out of its lane or its
        line, and give it up as soon as that is sure."""
        pending = self._pending
        ages = pending.ages
        self._taking_out.out_of_lane(slot)
        if pending.has_lines:
            self._lines.take_out(slot)
        now_us = self._clock.now_us()
        if ages is not None:
            deadline_us = pending.deadlines.of(slot)
            if deadline_us > now_us and ages.is_doubtful(slot, now_us):
                # Neither sent nor given up before it is sure.
                due_us = QueueUs(min(ages.sure_at_us, deadline_us))
                self._lineup.schedule(slot, due_us, now_us)
                return
            ages.remove(slot)
        pending.deadlines.remove(slot)
        self._lineup.bury(slot)
        self._figures.burying += 1
        self._out.append(slot)

    def _find(self) -> bool:
        """Take out some of the messages that have expired; whether there may be more at once."""
        now_us = self._clock.now_us()
        is_more = self._find_late(now_us)
        self._find_old(now_us)
        return is_more

    def _find_late(self, now_us: int) -> bool:
        deadlines, states = self._pending.deadlines, self._pending.index.state
        most = _MOST_AT_ONCE - len(self._out)
        if not deadlines.at or most <= 0 or self._is_closed or self._is_full:
            return False
        slots = deadlines.passed(now_us, most)
        for slot in slots:
            # One that is SCHEDULED is due, and given again when it is READY. What an attempt under
            # way comes to is judged by its deadline.
            if states[slot] == State.READY or states[slot] == State.BEHIND:
                self.take_out(slot)
        return len(slots) == most

    def _find_old(self, now_us: int) -> None:
        ages, index = self._pending.ages, self._pending.index
        if ages is None:
            return
        ages.ahead_us = max(0, now_us - self._clock.wall_us())
        while (slot := ages.first) != NO_SLOT and ages.expires_us(slot) <= now_us:
            if len(self._out) >= _MOST_AT_ONCE or self._is_closed or self._is_full:
                return
            if ages.is_doubtful(slot, now_us):
                return
            match index.state[slot]:
                case State.SCHEDULED | State.MOVING:
                    return  # its timer is due, and lets it wait for its turn; or that comes soon
                case State.READY | State.BEHIND:
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
