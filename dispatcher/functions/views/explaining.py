"""The one reason why a call has not ended yet: which of `reasons` it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from dispatcher.core.clock import SteadyClock
from dispatcher.functions.lanes.gates import Gate, first_closed
from dispatcher.functions.lanes.lane import Lane
from dispatcher.functions.lanes.turns import Turns
from dispatcher.functions.model import Call
from dispatcher.functions.runs.under_way import Run
from dispatcher.functions.shown import CallState, CallView, ExplanationView, WaitingReason
from dispatcher.functions.views import reasons
from dispatcher.functions.views.reasons import Why

_NAMED: Final = 3
"""Of the calls that one waits for: who wants all of them looks at the tree."""


class Runs(Protocol):
    """What is known of runs (`running.Runner`)."""

    @property
    def rests_until_us(self) -> int:
        """Until when no run is begun, as something is lacking here, by the wall clock."""

    def run_of(self, key: int) -> Run | None:
        """The run of a call that is under way."""

    def lane_of(self, call: Call) -> Lane | None:
        """The lane of a call, where there is one now."""


class Explaining:
    """Says of the calls of one partition why they have not ended."""

    def __init__(
        self,
        runs: Runs,
        turns: Turns,
        clock: SteadyClock,
        *,
        find: Callable[[int], Call | None],
        id_of: Callable[[int], str],
    ) -> None:
        """`find` gives the call of a key, and `id_of` its id."""
        self._runs = runs
        self._turns = turns
        self._clock = clock
        self._find = find
        self._id_of = id_of

    def explain(self, call: Call, view: CallView) -> ExplanationView:
        """Of a call that is in the table; `view` is what it is now."""
        if view.state.has_ended:
            return reasons.explained(view, reasons.has_ended(view))
        return reasons.explained(view, reasons.until_it_ends(self._why(call, view), call))

    def _why(self, call: Call, view: CallView) -> Why:
        match view.state:
            case CallState.OUTSIDE:
                return reasons.waits_outside(call.endpoint)
            case CallState.SUSPENDED:
                return reasons.is_suspended(call, self._children(call))
            case CallState.RUNNING if (run := self._runs.run_of(call.key)) is not None:
                return reasons.is_under_way(run, call.attempts + 1)
            case CallState.SCHEDULED:
                return self._waits_for_its_time(call, view)
        return self._waits_for_turn(call)

    def _children(self, call: Call) -> str:
        named = []
        for key in sorted(call.children)[:_NAMED]:
            child = self._find(key)
            what = "" if child is None else f"{child.function or child.endpoint} "
            named.append(f"{what}({self._id_of(key)})")
        more = len(call.children) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")

    def _waits_for_its_time(self, call: Call, view: CallView) -> Why:
        assert view.next_run_at_us is not None, "it is scheduled"
        due_us = view.next_run_at_us
        ahead_us = max(0, due_us - self._clock.wall_us())
        return reasons.waits_for_its_time(
            call,
            due_us,
            last_error=view.last_error,
            is_lacking=due_us <= self._runs.rests_until_us,
            shut=self._held_up(call, self._clock.now_us() + ahead_us, is_later=True),
        )

    def _waits_for_turn(self, call: Call) -> Why:
        if self._turns.waits_for_disk:
            text = "No call is run while a disk is too slow to store what runs come to."
            return Why(WaitingReason.LACKING, text)
        found = self._held_up(call, self._clock.now_us())
        return reasons.waits_for_turn(self._runs.lane_of(call)) if found is None else found

    def _held_up(self, call: Call, at_us: int, *, is_later: bool = False) -> Why | None:
        """What holds a call up at an instant; `is_later`: as far as time has to pass for it, or an
        operator has to act."""
        lane = self._runs.lane_of(call)
        if lane is None:
            return None
        closed = first_closed(self._turns.lanes, lane, call.function, at_us)
        if closed is None:
            return None
        until_us = None
        if closed.until_us is not None:
            until_us = self._clock.wall_us() + closed.until_us - self._clock.now_us()
        elif is_later and closed.gate is not Gate.HOLD:
            return None
        return reasons.is_held_up(closed, lane, call.function, until_us)
