"""All calls together, as operators see them: states, totals, lanes. Nothing here looks at every
call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, Protocol

from dispatcher.core.breaker import State
from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.functions.ending.waiting import Waiting
from dispatcher.functions.lanes.lane import Lane
from dispatcher.functions.lanes.lanes import Lanes
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import Phase
from dispatcher.functions.results.store import Results
from dispatcher.functions.shown import MOST_CALL_LANES, CallLane, CallState, CallTotals
from dispatcher.functions.views.figures import Figures
from dispatcher.queue.admin.lane_filter import is_down
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.selecting import AT_ONCE, Rank, select
from dispatcher.queue.admin.surface import LaneFilter, LaneKind, LaneOrder, LanePage, LaneView

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
        pace: Pace,
    ) -> None:
        """Who lists lanes takes turns with all others that read, by `pace`; whoever wants figures
        does not wait for them, and has a pace of its own."""
        self.figures = figures
        self.results = results
        self.waiting = waiting
        self._machine = machine
        self._runs = runs
        self._lanes = lanes
        self._clock = clock
        self._pace = pace
        self._figures_pace = pace.another()

    @property
    def workers(self) -> int:
        """How many runs may be under way at once (CALL_WORKER)."""
        return self._lanes.most

    @property
    def workers_busy(self) -> int:
        """How many runs are under way, without those that are fetched."""
        return self._lanes.in_flight

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
        largest = await self.largest()
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
            lanes=[self._call_lane(lane) for lane in largest],
            lanes_total=len(self._lanes),
        )

    async def largest(self) -> Sequence[Lane]:
        """The lanes with most calls, the largest first."""
        found = await select(
            self._in_parts(), rank=_by_calls, limit=MOST_CALL_LANES, pace=self._figures_pace
        )
        return found.first

    async def lanes(
        self, order: LaneOrder, *, which: LaneFilter, after: str, limit: int
    ) -> LanePage:
        """See `Functions.lanes`."""
        found = await select(
            self._in_parts(),
            rank=_by_name if order is LaneOrder.NAME else _by_calls,
            limit=limit,
            pace=self._pace,
            wanted=partial(self._is_shown, which=which),
            after=(0, after.encode()) if after else None,
        )
        views = [self._view(lane) for lane in found.first]
        is_last = order is not LaneOrder.NAME or not found.more
        return LanePage(views, found.total, None if is_last else views[-1].destination)

    def _in_parts(self) -> Iterator[Sequence[Lane]]:
        # There are as many as applications: to list them all takes no time that counts.
        every = list(self._lanes)
        return (every[start : start + AT_ONCE] for start in range(0, len(every), AT_ONCE))

    def _is_shown(self, lane: Lane, *, which: LaneFilter) -> bool:
        """Calls whose endpoint cannot be read have a lane without a name."""
        if not lane.name:
            return False
        has_work = bool(lane.waiting or lane.in_flight)
        if not has_work and self._paused_until_us(lane) is None:
            return False
        is_failing = is_down(lane.breaker, lane.trail, self._clock.now_us())
        return which.fits(lane.name, is_held=lane.is_held, is_failing=is_failing)

    def _paused_until_us(self, lane: Lane) -> int | None:
        """By the wall clock."""
        now_us = self._clock.now_us()
        until_us = lane.paused_until_us
        if lane.breaker.state is State.OPEN:
            until_us = max(until_us, lane.breaker.open_until_us)
        return self._clock.wall_us() + until_us - now_us if until_us > now_us else None

    def _call_lane(self, lane: Lane) -> CallLane:
        return CallLane(
            endpoint=lane.name,
            waiting=lane.waiting,
            in_flight=lane.in_flight,
            limit=_limit(lane),
            paused_until_us=self._paused_until_us(lane),
            held=lane.is_held,
            breaker=lane.breaker.state.value,
        )

    def _view(self, lane: Lane) -> LaneView:
        trail, to_wall = lane.trail, self._clock.to_wall
        failed_at, failing_since = trail.failed_at, trail.failing_since
        p50_ms, p95_ms = trail.percentiles_ms() or (None, None)
        return LaneView(
            destination=lane.name,
            ready=lane.waiting,
            scheduled=None,
            in_flight=lane.in_flight,
            limit=_limit(lane),
            paused_until_us=self._paused_until_us(lane),
            held=lane.is_held,
            breaker=lane.breaker.state.value,
            kind=LaneKind.CALL,
            rate=None if lane.bucket is None else str(lane.bucket.rate),
            last_error=trail.last_error,
            last_error_at_us=to_wall(QueueUs(failed_at)) if failed_at else None,
            failing_since_us=to_wall(QueueUs(failing_since)) if failing_since else None,
            delivered_per_s=round(trail.per_second(self._clock.now_us()), 3),
            attempt_p50_ms=p50_ms,
            attempt_p95_ms=p95_ms,
        )


def _limit(lane: Lane) -> int | None:
    return None if lane.is_pulled else lane.most


def _by_name(lane: Lane) -> Rank:
    return 0, lane.name.encode()


def _by_calls(lane: Lane) -> Rank:
    return -lane.waiting - lane.in_flight, lane.name.encode()
