"""What an answer was found to mean becomes durable.

    Decision ─▶ event ─▶ submit ─▶ durable and applied ─▶ the run is over

An answer whose event is refused (the disk is full) is dropped, and the run made again when that may
have passed; but what ends a call is stored on a full disk too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dispatcher.core.clock import SteadyClock
from dispatcher.errors import Refusal
from dispatcher.functions import errors
from dispatcher.functions.deciding.appending import is_to_be_one
from dispatcher.functions.deciding.decisions import Decision, Outcome, RestartAt, RetryAt
from dispatcher.functions.events import Dropped, Event, Exited, Polled, Restarted, Retried
from dispatcher.functions.lanes.turns import Turns
from dispatcher.functions.limits import CLEANUP_US
from dispatcher.functions.model import Call
from dispatcher.functions.ports import Store
from dispatcher.functions.runs.giving import Giving
from dispatcher.functions.runs.under_way import Run, UnderWay


class Following:
    """Stores what follows from the runs of a partition."""

    __slots__ = ("_calls", "_clock", "_giving", "_store", "_turns", "_under_way")

    def __init__(
        self,
        under_way: UnderWay,
        calls: Mapping[int, Call],
        store: Store,
        *,
        turns: Turns,
        giving: Giving,
        clock: SteadyClock,
    ) -> None:
        self._under_way = under_way
        self._calls = calls
        self._store = store
        self._turns = turns
        self._giving = giving
        self._clock = clock

    def follow(self, run: Run, call: Call, decision: Decision) -> None:
        """Store what a run has come to; it is over once that is durable."""
        outcome = decision.outcome
        if isinstance(outcome, RetryAt):
            self._giving.referring.drop(call.key)
            if decision.has_missed:
                self._giving.referring.missed(call)
        if isinstance(outcome, Polled) and outcome.is_appended:
            assert isinstance(outcome.state, bytes)
            if is_to_be_one(call.states, len(outcome.state)):
                self._under_way.spawn("state", run, self._make_one(run, outcome, decision))
                return
        self._submit(run, call, outcome, decision)

    async def _make_one(self, run: Run, event: Polled, decision: Decision) -> None:
        """Read what a poll extends, and store both together."""
        whole = await self._giving.made_one(lambda: self._under_way.call_of(run), event)
        call = self._under_way.call_of(run)
        if whole is None or call is None or self._under_way.is_stopped:
            self._under_way.over(run)
        else:
            self._submit(run, call, whole, decision)

    def _submit(self, run: Run, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Store an outcome, which is the decision's or takes its place."""
        if isinstance(outcome, RetryAt) and not outcome.is_spent:
            call.due_us = outcome.due_us  # nothing that would have to be known after a crash
            self._under_way.over(run)
            return
        event: Event
        if isinstance(outcome, RetryAt):
            event = Retried(call.key, run.step, outcome.attempts, outcome.due_us)
        elif isinstance(outcome, RestartAt):
            event = Restarted(call.key, run.step)
        else:
            event = outcome
        unneeded = self._named(call, decision.cancel) if decision.cancel else ()
        self._turns.storing += 1

        def then(refusal: Refusal | None) -> None:
            self._turns.stored()
            if refusal is None:
                self._under_way.stored()
                if isinstance(outcome, RestartAt) and call.step == run.step + 1:
                    call.due_us = outcome.due_us  # after a crash it may begin at once
                self._has_gone_on(run, call, decision.process, unneeded)
                self._under_way.over(run)
            elif isinstance(outcome, RetryAt):
                self._retry_unwritten(run, outcome)
            else:
                self._under_way.not_stored(run)

        self._store.submit(event, then, urgent=isinstance(event, Exited))

    def _named(self, call: Call, correlations: Sequence[int]) -> tuple[int, ...]:
        """The keys of its children with these correlations, those that have not ended."""
        wanted = frozenset(correlations)
        children = (self._calls.get(key) for key in call.children)
        return tuple(
            child.key for child in children if child is not None and child.correlation in wanted
        )

    def _has_gone_on(self, run: Run, call: Call, process: str, unneeded: tuple[int, ...]) -> None:
        """What an answer says besides, once it is durable. A crash before it leaves things as they
        would be without: the state goes whole, the children go on."""
        if call.step == run.step + 1 and self._calls.get(call.key) is call:
            self._giving.referring.keeps(call, process, was_referred=run.is_referred)
        if unneeded:
            below = (self._calls.get(key) for key in self._under_way.runs)
            running = (one.key for one in below if one is not None and one.root == call.root)
            dropped = Dropped(
                call.key,
                unneeded,
                errors.unneeded_error(call.function),
                errors.unneeded(call.function),
                self._clock.wall_us() + CLEANUP_US,
                tuple(running),
            )
            self._store.submit(dropped, urgent=True)

    def _retry_unwritten(self, run: Run, outcome: RetryAt) -> None:
        """It is tried again all the same; after a crash the count would begin anew."""
        call = self._under_way.call_of(run)
        if call is not None:
            call.attempts, call.due_us = outcome.attempts, outcome.due_us
        self._under_way.over(run)
