"""Callers that wait for what becomes of their messages (`ports.Waiter`).

They are in `Pending.awaited` by the ids of their messages, in memory only: whoever waits is a
connection. A message that is awaited wants its answer, also when it is read back, so one look at
`Message.answer_limit` tells most messages that nobody waits for them.
"""

from __future__ import annotations

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, cause
from dispatcher.queue.pending.pending import Pending


class Answers:
    """Tells those who wait."""

    __slots__ = ("_pending",)

    def __init__(self, pending: Pending) -> None:
        self._pending = pending

    def delivered(self, message: Message, result: AttemptResult | None) -> None:
        """A message was delivered; `result` is None after a plain 2xx."""
        is_broken = result is not None and result.failure is not None
        self._ended(message, None, is_broken=is_broken)

    def dead(self, message: Message, result: AttemptResult, *, told: str | None) -> None:
        """A message was given up, and its dead letter is durable. `told` is as in
        `DeadReason.told`."""
        error = cause(result.status, result.failure) if told is None else told
        is_broken = told is not None or result.failure is not None
        self._ended(message, error, is_broken=is_broken)

    def undecided(self, message: Message) -> None:
        """An attempt ended, and there will be another one."""
        if message.answer_limit and message.answer is not None:
            message.answer.release()
        waiter = self._pending.awaited.pop(message.wire_id, None)
        if waiter is not None:
            waiter.undecided()

    def none_will_be_told(self) -> None:
        """The partition is lost: what becomes of its messages is not heard of here any more."""
        awaited = self._pending.awaited
        while awaited:
            _, waiter = awaited.popitem()
            waiter.undecided()

    def _ended(self, message: Message, error: str | None, *, is_broken: bool) -> None:
        answer = message.answer if message.answer_limit else None
        waiter = self._pending.awaited.pop(message.wire_id, None)
        if answer is not None and (waiter is None or is_broken):
            answer.release()
            answer = None
        if waiter is not None:
            waiter.ended(answer, error)
