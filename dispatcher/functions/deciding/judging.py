"""What the runs of a partition came to: `deciding`, and what it has to know beside the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dispatcher.core.answer import Answer
from dispatcher.core.breaker import Signal, classify
from dispatcher.core.clock import Random, SteadyClock
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.policy import NO_RETRY
from dispatcher.core.retry import parse_retry_after
from dispatcher.functions.deciding.deciding import decide
from dispatcher.functions.deciding.decisions import Context, Decision
from dispatcher.functions.deciding.streaks import LOST, NO_OTHERS, NO_STREAK, Others, Streak
from dispatcher.functions.lanes.lanes import Lesson
from dispatcher.functions.model import Call
from dispatcher.functions.rules import Asked, Rules
from dispatcher.protocol.statuses import Concurrency, Status

_MOST_ENDPOINTS: Final = 4096
_WELL: Final = Lesson(Signal.HEALTHY)
_OURS_MS: Final = 1000
"""How long a lane rests when something was lacking here: it would be so for the next call too."""


class Judging:
    """Decides, and remembers what may bear on the next decision."""

    __slots__ = ("_clock", "_next_key", "_others", "_random", "_rules", "_streaks", "_trees")

    def __init__(
        self,
        trees: dict[int, int],
        *,
        rules: Rules,
        next_key: Callable[[], int],
        clock: SteadyClock,
        random: Random,
    ) -> None:
        """`trees` is the machine's."""
        self._trees = trees
        self._rules = rules
        self._next_key = next_key
        self._clock = clock
        self._random = random
        self._streaks: dict[int, Streak] = {}
        self._others: dict[str, Others] = {}

    def decide(self, call: Call, asked: Asked, came: Answer | AttemptResult) -> Decision:
        """What follows from a run."""
        now_us = self._clock.wall_us()
        context = Context(
            self._streaks.get(call.key, NO_STREAK),
            self._others.get(call.endpoint, NO_OTHERS),
            self._trees.get(call.root, 1),
        )
        decision = decide(
            call,
            asked,
            came,
            context,
            now_us=now_us,
            random=self._random,
            rules=self._rules,
            next_key=self._next_key,
        )
        if decision.streak is NO_STREAK or decision.streak == NO_STREAK:
            self._streaks.pop(call.key, None)
        else:
            self._streaks[call.key] = decision.streak
        if isinstance(came, Answer) and decision.status is not Status.INVALID_RESPONSE:
            self._note(call.endpoint, Others(now_us, context.others.failing))
        elif isinstance(came, AttemptResult) and came.status == 500:
            self._note(call.endpoint, context.others.failed(call.key, now_us))
        return decision

    def lesson(self, decision: Decision, came: Answer | AttemptResult) -> Lesson:
        """What the lane learns from it."""
        if isinstance(came, Answer) and decision.function is Concurrency.INCREASE:
            return _WELL if decision.lane is Signal.HEALTHY else Lesson(decision.lane)
        throttles = decision.function is Concurrency.DECREASE
        is_asked = throttles if isinstance(came, Answer) else came.status in (429, 503)
        rest_ms = 0
        if isinstance(came, AttemptResult) and came.ours:
            rest_ms = _OURS_MS
        if is_asked and came.retry_after is not None:
            rest_ms = parse_retry_after(came.retry_after, self._clock.wall_us()) or 0
        rest_ms = min(rest_ms, self._rules.retry_max_delay_ms)
        is_silent = isinstance(came, Answer) and decision.function is Concurrency.NONE
        failed = _failed(decision, came)
        return Lesson(decision.lane, throttles, rest_ms * 1000, is_silent, failed)

    def may_have_run(self, key: int) -> None:
        """An answer may have been lost, as the call was due when the process before this one ended;
        or the call has ended, and is run again."""
        self._streaks[key] = LOST

    def forget(self, call: Call) -> None:
        """It is not run any more."""
        self._streaks.pop(call.key, None)

    def _note(self, endpoint: str, others: Others) -> None:
        self._others.pop(endpoint, None)
        self._others[endpoint] = others
        if len(self._others) > _MOST_ENDPOINTS:
            del self._others[next(iter(self._others))]


def overtaken(came: Answer | AttemptResult) -> Lesson:
    """What the lane learns from an answer that its call did not wait for."""
    if isinstance(came, Answer):
        return Lesson(Signal.HEALTHY)
    return Lesson(classify(came, NO_RETRY), failed=came)


def _failed(decision: Decision, came: Answer | AttemptResult) -> AttemptResult | None:
    """What went wrong with a run; None: it was answered as the protocol has it."""
    if isinstance(came, AttemptResult):
        return came
    if decision.status is Status.INVALID_RESPONSE:
        return AttemptResult(came.status, Failure.BROKEN, "no answer of the protocol", 0)
    return None
