"""One activation of a durable call: from what the server tells it to what it is answered.

    events ──▶ advance ──▶ waits, and nothing is to be done here ──▶ poll
                 ▲   │ ──▶ steps: begun together, in the order of their ids
                 │   │ ──▶ over ──▶ exit
      a step ended, or a timer is due

The order in which things become durable:

 1. Steps begin when all that was decided before is stored: calls that are made and steps that have
    ended. Where it is not, the answer is a poll that is resumed at once (`max_wait` 0), and then
    they begin.
 2. What ended in an activation is told to the body at once. What it does next waits, until all
    steps that have begun have ended or were given up: no step runs beyond an answer, so none runs
    in two processes.
 3. Calls that are too many or too large for one answer are made in several, in the order of their
    ids: each is resumed at once. The record says up to which they are made.
 4. A body that fails after a step has ended is answered with the step first, and then with the
    failure; one that ends with calls that were not made yet, with the calls first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.replay.model import (
    Became,
    Ended,
    Event,
    Failure,
    Numbered,
    Outcome,
    Raised,
    Returned,
    Suspended,
    Told,
)
from dispatcher.sdk.running.parts import parted
from dispatcher.sdk.running.responses import Ending, Passed, Waiting
from dispatcher.sdk.running.session import Session
from dispatcher.sdk.running.steps import Steps

MOST_RESULTS: Final = 10_000
"""Of one poll, where the server has our extensions."""
_MOST_RESULTS_ELSEWHERE: Final = 1_000
"""Where it has not: as many as the protocol allows."""
_LEAST_WAIT_ELSEWHERE_US: Final = 1_000_000
"""Likewise: the shortest `max_wait` that the protocol allows."""

_log: Final = logging.getLogger("dispatcher.sdk")

Concluded = Callable[[Outcome], Ending | Passed]
"""What an outcome means that ends the run."""


class Activation:
    """Of one session, which nobody else uses meanwhile."""

    def __init__(
        self,
        session: Session,
        told: Told,
        *,
        steps: Steps,
        conclude: Concluded,
        now_us: Callable[[], int],
        process: str,
        within_s: float | None,
    ) -> None:
        """`process` keeps the session when it is suspended, "": it is not kept. `within_s`: for so
        long steps may run."""
        self._session = session
        self._told = told
        self._steps = steps
        self._conclude = conclude
        self._now_us = now_us
        self._process = process
        loop = asyncio.get_running_loop()
        self._ends_at = None if within_s is None else loop.time() + within_s
        self._begun: dict[asyncio.Task[Ended], Numbered] = {}
        self._calls, session.calls = session.calls, {}
        self._cancelled: list[int] = []
        self._is_unstored = False
        """A step has ended, and only this process knows."""

    async def run(self, events: Sequence[Event], kept: Sequence[str]) -> Ending | Passed | Waiting:
        """Go on until there is something to answer. `kept` are results to keep.

        After an error, also CancelledError, no step of it runs, and its session is of no use.
        """
        try:
            return await self._run(events, kept)
        finally:
            for task in self._begun:
                task.cancel()

    async def _run(self, events: Sequence[Event], kept: Sequence[str]) -> Ending | Passed | Waiting:
        session = self._session
        if session.ending is not None:
            return self._waiting(0, (), outstanding=0, missing=1)
        outcome = session.engine.advance(events, self._now_us())
        while isinstance(outcome, Suspended):
            self._take(outcome)
            if not self._begun:
                if not session.steps:
                    return self._suspended(outcome, self._until(outcome.wake_us), kept)
                if self._calls or self._cancelled or self._is_unstored:
                    return self._suspended(outcome, 0, kept)
                self._begin()
            ended = await self._next(outcome.wake_us)
            if ended is None:
                names = ", ".join(step.operation.function for step in self._begun.values())
                ended = self._cut()
                if not (self._is_unstored or self._calls or self._cancelled):
                    return _out_of_time(self._told, names)
            outcome = session.engine.advance(ended, self._now_us())
        return self._over(outcome, kept)

    def _take(self, outcome: Suspended) -> None:
        """Note what the body wants, and give up what it needs no more."""
        self._calls.update((one.id, one) for one in outcome.calls)
        self._session.steps.update((one.id, one) for one in outcome.steps)
        self._give_up(outcome.cancelled)

    def _give_up(self, ids: Sequence[int]) -> None:
        """Steps that run are cancelled; of calls those that were made are named to the server."""
        for id in self._session.give_up(ids):
            begun = [task for task, step in self._begun.items() if step.id == id]
            for task in begun:
                task.cancel()
                del self._begun[task]
            if not begun and self._calls.pop(id, None) is None:
                self._cancelled.append(id)

    def _begin(self) -> None:
        steps, self._session.steps = self._session.steps, {}
        for id in sorted(steps):
            self._begun[self._steps.begin(steps[id], self._told)] = steps[id]

    async def _next(self, wake_us: int | None) -> list[Ended] | None:
        """Wait for steps to end, or for a timer of the body: then it is none of them.

        Returns:
            None when the time is over.
        """
        wait_s = None if wake_us is None else max(0, wake_us - self._now_us()) / 1_000_000
        left_s = self._left_s()
        waits = [seconds for seconds in (wait_s, left_s) if seconds is not None]
        done, _ = await asyncio.wait(
            set(self._begun),
            timeout=min(waits, default=None),
            return_when=asyncio.FIRST_COMPLETED,
        )
        ended = sorted((task.result() for task in done), key=lambda one: one.id)
        for task in done:
            del self._begun[task]
        self._is_unstored = self._is_unstored or bool(ended)
        if not ended and left_s is not None and (wait_s is None or left_s < wait_s):
            return None
        return ended

    def _left_s(self) -> float | None:
        if self._ends_at is None:
            return None
        return max(0.0, self._ends_at - asyncio.get_running_loop().time())

    def _cut(self) -> list[Ended]:
        """Give up the steps that run. They begin again, with the next resume or the next try; what
        is returned is of those that must not."""
        left = []
        for task, step in self._begun.items():
            task.cancel()
            interrupted = self._steps.interrupted(step)
            if interrupted is None:
                self._session.steps[step.id] = step
            else:
                left.append(interrupted)
        self._begun.clear()
        self._is_unstored = self._is_unstored or bool(left)
        return left

    def _over(self, outcome: Outcome, kept: Sequence[str]) -> Ending | Passed | Waiting:
        came = self._conclude(outcome)
        self._give_up(came.cancelled)
        if self._has_to_be_stored(outcome):
            self._session.ending = replace(came, cancelled=())
            return self._waiting(0, kept, outstanding=0, missing=1)
        return replace(came, cancelled=tuple(self._cancelled))

    def _has_to_be_stored(self, outcome: Outcome) -> bool:
        """Whether something comes before the end. A body that did what it must not, or does not fit
        its record, is where no record leads to."""
        match outcome:
            case Raised():
                return bool(self._calls) or self._is_unstored
            case Returned() | Became():
                return bool(self._calls)
            case _:
                return False

    def _suspended(self, outcome: Suspended, wait_us: int | None, kept: Sequence[str]) -> Waiting:
        return self._waiting(
            wait_us, kept, outstanding=outcome.outstanding, missing=outcome.missing
        )

    def _until(self, wake_us: int | None) -> int | None:
        return None if wake_us is None else max(0, wake_us - self._now_us())

    def _waiting(
        self, wait_us: int | None, kept: Sequence[str], *, outstanding: int, missing: int
    ) -> Waiting:
        session, features = self._session, self._told.features
        state, extends = session.state(extends="append" in features)
        most = MOST_RESULTS if features else _MOST_RESULTS_ELSEWHERE
        max_results = max(1, min(outstanding, most))
        waiting = Waiting(
            state,
            session.engine.nonce,
            extends,
            calls=[self._calls[id] for id in sorted(self._calls)],
            cancelled=self._cancelled,
            wait_us=wait_us,
            min_results=max(1, min(missing, max_results)),
            max_results=max_results,
            process=self._process if "state-ref" in features else "",
            kept=kept,
        )
        waiting = parted(waiting, session, appends="append" in features)
        session.mark(waiting.state, extends=extends)
        if waiting.wait_us is None or features:
            return waiting
        return replace(waiting, wait_us=max(waiting.wait_us, _LEAST_WAIT_ELSEWHERE_US))


def _out_of_time(told: Told, names: str) -> Ending:
    message = (
        f"the run had to end before these steps did: {names}. The function may have more time: "
        "@dispatch.function(timeout=…)"
    )
    _log.warning("%s (call %s): %s", told.function, told.id, message)
    return Ending(Status.TIMEOUT, Failure("TimeoutError", message))
