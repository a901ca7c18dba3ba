"""What a message with terms waits for before its first turn.

Intake asks once, when the message is durable; recovery does the same of what it finds in the log
(`recovery.replay`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dispatcher.core.callbacks import BODY_BYTES
from dispatcher.core.clock import QueueUs, SteadyClock, WallUs
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.queue.flow.starting import Starting
from dispatcher.queue.lanes.lines import Lines
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.pending.pending import Pending


class Admission:
    """Lets messages with terms in."""

    __slots__ = ("_clock", "_has_deadline", "_lines", "_lineup", "_pending", "_starting")

    def __init__(
        self,
        pending: Pending,
        *,
        lineup: Lineup,
        lines: Lines,
        starting: Starting,
        clock: SteadyClock,
        has_deadline: Callable[[], None],
    ) -> None:
        """`has_deadline` is told that there is a message with a deadline."""
        self._has_deadline = has_deadline
        self._pending = pending
        self._lineup = lineup
        self._lines = lines
        self._starting = starting
        self._clock = clock

    def prepare(self, message: Message, terms: Terms) -> None:
        """A message is about to be stored: what was last said of its flow key is stored with it, so
        that it is known after a restart."""
        if terms.flow_key:
            flow = self._lines.known(message.destination.key, terms)
            if flow is not None and terms.flow is None:
                message.terms = replace(terms, flow=flow)

    def waits(self, message: Message, terms: Terms) -> bool:
        """Note what was asked for with a message that has a slot, in no chain; whether it waits
        somewhere else than in its lane now."""
        if terms.calls_back:
            message.want_start(BODY_BYTES)
        pending, slot, now_us = self._pending, message.slot, self._clock.now_us()
        deadline_us = due_us = 0
        if terms.deadline_us:
            deadline_us = self._clock.to_queue(WallUs(terms.deadline_us))
            pending.deadlines.add(slot, deadline_us)
            self._has_deadline()
        is_late = 0 < deadline_us <= now_us  # storing it took too long: given up at its turn
        if terms.not_before_us and not is_late:
            due_us = self._clock.to_queue(WallUs(terms.not_before_us))
            # In what is imported the deadline may be the earlier of the two.
            due_us = QueueUs(min(due_us, pending.deadlines.of(slot)))
        ages = pending.ages
        if ages is not None and due_us > now_us:  # its age counts from there
            ages.note(slot, due_us)
        if terms.has_line:
            self._lines.note(slot, message.destination.key, terms, message.position)
            if self._lines.waits(slot, due_us if due_us > now_us else 0, now_us):
                if ages is not None and due_us <= now_us:
                    ages.add(slot, now_us)
                return True
        if due_us > now_us:
            self._lineup.schedule(slot, QueueUs(due_us), now_us)
            self._starting.arm()
            return True
        if is_late:
            self._line_up(slot)
        return is_late

    def _line_up(self, slot: int) -> None:
        if self._pending.ages is not None:
            self._pending.ages.add(slot, self._clock.now_us())
        self._starting.notice(self._lineup.line_up(slot))

    def comes_from_elsewhere(self, message: Message) -> None:
        """Let a message that had another destination before wait for its turn, as if it were
        new."""
        if message.terms is None or not self.waits(message, message.terms):
            self._line_up(message.slot)

    def returns(self, message: Message) -> None:
        """Let a message that was dead wait for its turn, as if it were new."""
        terms, slot = message.terms, message.slot
        if terms is None or not terms.has_line:
            self._starting.line_up(slot)
            return
        self._lines.release_reserved(slot)
        now_us = self._clock.now_us()
        if self._pending.ages is not None:
            self._pending.ages.add(slot, now_us)
        if not self._lines.returns(slot, now_us):
            self._starting.notice(self._lineup.line_up(slot))
