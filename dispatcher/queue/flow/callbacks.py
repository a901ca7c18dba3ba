"""Callbacks: what is born when a message ends whose caller named who is to be told.

    delivered ─▶ SETTLED + MESSAGE in one unit ─▶ forgotten; the callback is admitted
    given up ─▶ DEAD, durable ─▶ the same

A crash between the two logs leaves the message in both: then it was given up, and the next start
makes its callback as it settles it (`recovery.reconcile`). A callback is a message as any other,
but that it is accepted whatever bounds the backlog. It has no terms, so nobody is told of its own
end. A message that an operator cancels ends without one, and so does a letter that is purged: its
death was told when it died.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dispatcher.core.callbacks import Ending, callback_of, url_for
from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import cause
from dispatcher.core.verdict import DeadReason
from dispatcher.errors import LogCorrupt
from dispatcher.queue.commit.endings import Endings
from dispatcher.queue.commit.settlements import Settlements
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.intake import Intake
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.kinds import OVERHEAD_BYTES, RecordError
from dispatcher.queue.records.letters import DeadLetter, last_of
from dispatcher.queue.records.messages import decode_stored
from dispatcher.queue.registry.idempotency.keys import Keys


class Callbacks:
    """Ends messages that call back."""

    __slots__ = (
        "_clock",
        "_dead_letters",
        "_ended_at_start",
        "_endings",
        "_figures",
        "_intake",
        "_keys",
        "_lineup",
        "_partition",
        "_pending",
        "_settlements",
    )

    def __init__(
        self,
        pending: Pending,
        endings: Endings,
        intake: Intake,
        *,
        lineup: Lineup,
        settlements: Settlements,
        keys: Keys,
        dead_letters: DeadLetters,
        figures: Figures,
        clock: SteadyClock,
        partition: int,
    ) -> None:
        self._pending = pending
        self._endings = endings
        self._intake = intake
        self._lineup = lineup
        self._settlements = settlements
        self._keys = keys
        self._dead_letters = dead_letters
        self._figures = figures
        self._clock = clock
        self._partition = partition
        self._ended_at_start: list[int] = []

    @staticmethod
    def are_wanted(message: Message, *, delivered: bool) -> bool:
        """Whether somebody is told of this outcome."""
        return bool(url_for(message.terms, delivered=delivered))

    def end(self, message: Message, slot: int, ending: Ending, then: Callable[[], None]) -> None:
        """Settle a message of whose outcome somebody is told; its slot is in no chain. `then` is
        called once that is durable, and has to remove the slot."""
        url = url_for(message.terms, delivered=ending.delivered)
        callback = callback_of(message, url, ending, max(0, self._clock.wall_us()))
        payload = self._intake.payload_of(callback)
        name = message.position, message.incarnation
        settled = self._settlements.record_of(
            message.incarnation,
            message.position,
            delivered=ending.delivered,
            has_key=not ending.delivered and self._keys.given_up(*name),
        )
        self._endings.settle(
            message.wire_id,
            slot,
            settled,
            payload,
            then=partial(self._ended, payload, then),
        )

    def _ended(self, payload: bytes, then: Callable[[], None], position: int) -> None:
        try:
            then()
        finally:  # it exists, whatever became of the other one
            callback = decode_stored(position, payload, self._partition)
            self._intake.admit(callback, len(payload) + OVERHEAD_BYTES)

    async def end_dead(self, message: Message) -> bool:
        """A message was found in both logs at a start, and its letter counts: settle it, if
        somebody is told; whether that is so. The letter has less of the last response than was in
        memory when it died: how the body starts, and no headers."""
        if not self.are_wanted(message, delivered=False):
            return False
        ending = Ending(False, None, None)
        try:
            (letter,) = await self._dead_letters.read([message.wire_id])
        except (LogCorrupt, RecordError):
            pass  # that it died is known all the same
        else:
            assert isinstance(letter, DeadLetter), "its id is that of a message"
            last = last_of(letter)
            message.attempt = letter.message.attempt
            if letter.reason == DeadReason.OPERATOR.value:
                ending = Ending(False, None, letter.reason)
            elif last is not None:
                error = cause(last.status, last.failure)
                ending = Ending(False, last.status, error, body=letter.response_start)
        slot = message.slot
        self._figures.burying += 1
        self._ended_at_start.append(slot)
        self.end(message, slot, ending, partial(self._forget, slot))
        return True

    def opened(self) -> None:
        """There are lanes now: those that `end_dead` settles are counted in theirs."""
        for slot in self._ended_at_start:
            self._lineup.leaves(slot)
        self._ended_at_start.clear()

    def _forget(self, slot: int) -> None:
        self._figures.burying -= 1
        self._figures.fell.set()
        self._lineup.buried(slot)
        self._pending.remove(slot)
