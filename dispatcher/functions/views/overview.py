"""All calls together, as operators see them: states, totals, lanes. Nothing here looks at every
call."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest
from typing import Final, Protocol

from dispatcher.core.breaker import State
from dispatcher.core.clock import SteadyClock
from dispatcher.functions.ending.waiting import Waiting
from dispatcher.functions.lanes.lane import Lane
from dispatcher.functions.lanes.lanes import Lanes
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import Phase
from dispatcher.functions.results.store import Results
from dispatcher.functions.surface import MOST_CALL_LANES, CallLane, CallState, CallTotals
from dispatcher.functions.views.figures import Figures
from dispatcher.queue.admin.pace import Pace

_SLICE: Final = 400
ENDING: Final = "ending"
"""The state of root calls that have ended and whose results are not in their log yet."""


class Counts(Protocol):
    """What is known of runs (`running.Runner`)."""

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""


class Overview:
    """Reads what the parts count."""

    def __init__(
        self,
        machine: Machine,
        runs: Counts,
        figures: Figures,
        *,
        results: Results,
        waiting: Waiting,
        lanes: Lanes,
        clock: SteadyClock,
    ) -> None:
        self.figures = figures
        self.results = results
        self.waiting = waiting
        self._machine = machine
        self._runs = runs
        self._lanes = lanes
        self._clock = clock
        self.pace = Pace()

    def states(self) -> dict[str, int]:
        """How many calls there are now, by what they do."""
        phases = self._machine.phases
        ready, running = self._runs.waiting, self._runs.in_flight
        # A run may be under way whose call has moved on: its answer is being stored.
        scheduled = max(0, phases[Phase.DUE] - ready - running)
        return {
            CallState.READY.value: ready,
            CallState.SCHEDULED.value: scheduled,
            CallState.RUNNING.value: running,
            CallState.SUSPENDED.value: phases[Phase.SUSPENDED],
            CallState.OUTSIDE.value: phases[Phase.OUTSIDE],
            ENDING: phases[Phase.ENDED],
        }

    async def totals(self) -> CallTotals:
        """All of it."""
        lanes = await self.lanes()
        figures, states = self.figures, self.states()
        return CallTotals(
            created_total=figures.created,
            succeeded_total=figures.ended[CallState.SUCCEEDED],
            failed_total=figures.ended[CallState.FAILED],
            expired_total=figures.ended[CallState.EXPIRED],
            cancelled_total=figures.ended[CallState.CANCELLED],
            runs_total=sum(figures.runs.values()),
            **states,
            results=len(self.results),
            results_bytes=self.results.size_bytes,
            waiters=len(self.waiting),
            lanes=[self._view(lane) for lane in lanes],
            lanes_total=len(self._lanes),
        )

    async def lanes(self) -> Sequence[Lane]:
        """The lanes with most calls, the largest first."""
        every = list(self._lanes)
        found: list[Lane] = []
        for start in range(0, len(every), _SLICE):
            if start:
                await self.pace.rest()
            found = nsmallest(MOST_CALL_LANES, found + every[start : start + _SLICE], key=_rank)
        return found

    def _view(self, lane: Lane) -> CallLane:
        now_us = self._clock.now_us()
        until_us = lane.paused_until_us
        if lane.breaker.state is State.OPEN:
            until_us = max(until_us, lane.breaker.open_until_us)
        wall_us = self._clock.wall_us() + until_us - now_us
        return CallLane(
            endpoint=lane.name,
            waiting=lane.waiting,
            in_flight=lane.in_flight,
            limit=None if lane.is_pulled else lane.most,
            paused_until_us=wall_us if until_us > now_us else None,
            breaker=lane.breaker.state.value,
        )


def _rank(lane: Lane) -> tuple[int, str]:
    return -lane.waiting - lane.in_flight, lane.name
