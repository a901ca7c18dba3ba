"""Plain messages: what becomes of one when its attempt has ended.

Delivered, it is settled with the next batch; to be tried again, it waits in a timer, and a RETRY
record says so; given up, it is stored as a dead letter first and settled then.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol, assert_never

from dispatcher.core.callbacks import Ending
from dispatcher.core.clock import SteadyClock, WallUs
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.verdict import Dead, DeadReason, Delivered, NotSpent, RetryAt, Verdict
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.retries import Retries
from dispatcher.queue.commit.settlements import Settlements
from dispatcher.queue.deadletters.burial import Burial
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.flow.answers import Answers
from dispatcher.queue.flow.callbacks import Callbacks
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.recent import Recent
from dispatcher.queue.flow.starting import Starting
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.ports import Watcher
from dispatcher.queue.registry.idempotency.keys import Keys


class Handler(Protocol):
    """What a kind of message makes of an outcome. Its attempt has ended, and its lane has learned
    from it; the message has a slot, IN_FLIGHT, in no chain."""

    def ended(
        self, message: Message, lane: Lane, verdict: Verdict, result: AttemptResult | None
    ) -> None:
        """Settle, schedule or bury the message. `result` is None after a plain 2xx."""

    def give_up(self, message: Message, result: AttemptResult, reason: DeadReason) -> None:
        """The message is given up; `result` says why. Its slot is BURYING, and it counts as
        `Figures.burying` already."""


class Plain:
    """The `Handler` of messages that go to a destination and nothing more."""

    __slots__ = (
        "_answers",
        "_callbacks",
        "_clock",
        "_committer",
        "_dead_letters",
        "_delivered",
        "_figures",
        "_keys",
        "_lineup",
        "_pending",
        "_recent",
        "_retries",
        "_starting",
        "_watch",
    )

    def __init__(
        self,
        pending: Pending,
        *,
        lineup: Lineup,
        starting: Starting,
        committer: Committer,
        settlements: Settlements,
        keys: Keys,
        retries: Retries,
        dead_letters: DeadLetters,
        callbacks: Callbacks,
        answers: Answers,
        figures: Figures,
        watch: Watcher,
        recent: Recent,
        clock: SteadyClock,
    ) -> None:
        self._pending = pending
        self._lineup = lineup
        self._starting = starting
        self._committer = committer
        self._keys = keys
        self._delivered = settlements.delivered
        self._retries = retries
        self._dead_letters = dead_letters
        self._figures = figures
        self._watch = watch
        self._recent = recent
        self._clock = clock
        self._callbacks = callbacks
        self._answers = answers

    def ended(
        self, message: Message, lane: Lane, verdict: Verdict, result: AttemptResult | None
    ) -> None:
        """See `Handler`."""
        if isinstance(verdict, Delivered):
            self._done(message, result)
            return
        assert result is not None, "only a success has none"
        if isinstance(verdict, RetryAt):
            self._retry(message, result, verdict.due_us)
            lane.tries_again(self._pending.index, message.slot, message.accepted_at)
        elif isinstance(verdict, NotSpent):
            self._make_again(message, result, verdict.due_us)
            lane.tries_again(self._pending.index, message.slot, message.accepted_at)
        elif isinstance(verdict, Dead):
            self._watch.attempt_failed(message, result, None)
            self._figures.burying += 1
            self._lineup.bury(message.slot)
            self.give_up(message, result, verdict.reason)
        else:
            assert_never(verdict)

    def _done(self, message: Message, result: AttemptResult | None) -> None:
        figures = self._figures
        figures.attempts["delivered"] += 1
        figures.delivered_total += 1
        figures.delivery_us.observe(max(0, self._clock.wall_us() - message.accepted_at))
        if message.answer_limit and self._is_told(message, result):
            return
        self._recent.add(message, message.destination.key)
        self._delivered.add(message.incarnation, message.position)
        self._forget(message)

    def _is_told(self, message: Message, result: AttemptResult | None) -> bool:
        """Tell who wants to know that a message was delivered; whether it is settled with that."""
        is_called_back = self._callbacks.are_wanted(message, delivered=True)
        if is_called_back:
            ending = Ending.of_delivered(message.answer, result)
            self._figures.burying += 1
            self._lineup.bury(message.slot)
            self._callbacks.end(message, message.slot, ending, partial(self._told, message))
        self._answers.delivered(message, result)
        return is_called_back

    def _told(self, message: Message) -> None:
        self._recent.add(message, message.destination.key)
        self._leave(message)

    def _forget(self, message: Message) -> None:
        self._pending.remove(message.slot)
        self._committer.wake_lazily()

    def _retry(self, message: Message, result: AttemptResult, due_us: WallUs) -> None:
        self._watch.attempt_failed(message, result, due_us)
        self._schedule(message, due_us)
        self._pending.index.attempts[message.slot] = message.attempt
        self._retries.write(message, due_us, result.detail)
        if message.answer_limit:
            self._answers.undecided(message)
        self._starting.arm()

    def _make_again(self, message: Message, result: AttemptResult, due_us: WallUs) -> None:
        """Nothing is written down: after a restart the message is due at once, with the same number
        of attempts."""
        self._watch.attempt_failed(message, result, due_us)
        message.attempt -= 1
        self._schedule(message, due_us)
        if message.answer_limit:
            self._answers.undecided(message)
        self._starting.arm()

    def _schedule(self, message: Message, due_us: WallUs) -> None:
        """What is stored is due by the wall clock, what waits here waits by the queue's own."""
        due_at = self._clock.to_queue(due_us)
        self._lineup.schedule(message.slot, due_at, self._clock.now_us())

    def give_up(self, message: Message, result: AttemptResult, reason: DeadReason) -> None:
        """See `Handler`."""
        answer = message.answer if message.answer_limit else None
        burial = Burial(
            message,
            reason.value,
            result.detail,
            result.response_start,
            self._clock.wall_us(),
            0 if answer is None else len(answer.body),
        )
        self._dead_letters.bury(burial, partial(self._buried, message, result, reason))

    def _buried(self, message: Message, result: AttemptResult, reason: DeadReason) -> None:
        self._figures.dead_total += 1
        self._watch.dead_lettered(message, reason.value, result)
        if self._callbacks.are_wanted(message, delivered=False):
            answer = message.answer if message.answer_limit else None
            ending = Ending.of_dead(answer, result, told=reason.told)
            self._callbacks.end(message, message.slot, ending, partial(self._leave, message))
        else:
            self._keys.settle(message.position, message.incarnation)
            self._leave(message)
        self._answers.dead(message, result, told=reason.told)

    def _leave(self, message: Message) -> None:
        """The end of a BURYING message is written down, or will be with the next batch."""
        self._figures.burying -= 1
        self._lineup.buried(message.slot)
        self._forget(message)
        self._figures.fell.set()
        self._starting.pump()
