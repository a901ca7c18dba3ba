"""What the server knows of itself, for the overview and the history (`api.outlook.Outlook`)."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher import __version__
from dispatcher.api.cluster import Cluster, ClusterView
from dispatcher.api.health import Health
from dispatcher.api.outlook import (
    DeadView,
    DiskView,
    HistoryView,
    LaneCounts,
    OverviewView,
    WaitingView,
)
from dispatcher.core.breaker import State
from dispatcher.core.clock import QueueUs
from dispatcher.functions.lanes.lane import Lane as CallLane
from dispatcher.functions.shown import CallState
from dispatcher.functions.views.overview import Overview as CallOverview
from dispatcher.ingress.listener import Listener
from dispatcher.node.disks import Disks, Space
from dispatcher.node.figures import (
    Figures,
    Sight,
    figures_of,
    seen_together,
    sight_of,
    sums_of,
    used_descriptors,
)
from dispatcher.node.history import STEP_S, STEP_US, Forecast, History, Sample, foresee
from dispatcher.node.log_names import TRANSACTION
from dispatcher.node.others import Others
from dispatcher.node.problems import Ailing, Facts, problems
from dispatcher.node.whole import Whole
from dispatcher.queue.deadletters.retention import RetentionPolicy
from dispatcher.telemetry.supervisor import Supervisor

_LAST_LETTERS: Final = 3
_MOST_ROWS: Final = 2000
_MOST_FULL_IN_S: Final = 30 * 86_400
_HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server listens, as text."""

    listen: Sequence[str]
    api_listen: Sequence[str]


class NodeOutlook:
    """Samples the history, and gathers the facts when somebody asks."""

    def __init__(
        self,
        whole: Whole,
        listener: Listener,
        disks: Disks,
        *,
        supervisor: Supervisor,
        retention: RetentionPolicy,
        calls: CallOverview,
        health: Callable[[], Health],
        addresses: Callable[[], Addresses],
        audit_unkept: Callable[[], str | None],
        cluster: Cluster,
        others: Others | None = None,
    ) -> None:
        """`disks` are those of the logs: they are asked with each sample. `audit_unkept` says why
        the audit is not written, `cluster` who does the work. `others` are the other processes
        of the node."""
        self._others = others
        self._cluster = cluster
        self._whole = whole
        self._listener = listener
        self._supervisor = supervisor
        self._retention = retention
        self._disks = disks
        self._calls = calls
        self._health = health
        self._addresses = addresses
        self._audit_unkept = audit_unkept
        self._pace = whole.pace.another()
        self._history = History()
        self._started_at_us = whole.clock.wall_us()

    async def start(self) -> None:
        """Remember from now on."""
        await self._disks.look()
        await self._sample()
        self._supervisor.forever("history", self._turn, every_s=1.0)

    async def _turn(self) -> None:
        """Wait for the end of a step, and take the sample that belongs to it."""
        await asyncio.sleep((STEP_US - self._whole.clock.now_us() % STEP_US) / 1_000_000)
        await self._disks.look()
        await self._sample()

    async def _sample(self) -> None:
        """Those of this process are read when those of the others are there."""
        others = await self._other_figures()
        figures = sums_of([figures_of(self._whole, self._listener), *others])
        space = self._disks.space.get(TRANSACTION)
        self._history.add(
            self._whole.clock.now_us(),
            Sample(
                totals={
                    "accepted": figures.accepted_total,
                    "delivered": figures.delivered_total,
                    "dead": figures.dead_total,
                    "attempts_failed": figures.attempts_failed,
                    "refused": figures.refused,
                },
                gauges={
                    **figures.states,
                    "dead_letters": figures.dead,
                    "log_bytes": figures.log_bytes,
                    "disk_free_bytes": None if space is None else space.free_bytes,
                },
                timings={"accept": figures.accept, "attempt": figures.attempt},
            ),
        )

    def history(self) -> HistoryView:
        """See `Outlook`."""
        ends_at_us = self._whole.clock.to_wall(QueueUs(self._history.ends_at_us))
        return HistoryView(STEP_S, ends_at_us, self._history.series())

    async def overview(self) -> OverviewView:
        """See `Outlook`."""
        whole, health = self._whole, self._health()
        calls = await self._calls.largest()
        used = await asyncio.to_thread(used_descriptors)
        own = await sight_of(whole, self._pace, used, health)
        # At once: a process that hangs is waited for once.
        sights, several, cluster = await asyncio.gather(
            self._other_sights(), self._other_figures(), self._cluster.view()
        )
        sight = seen_together([own, *sights])
        figures = sums_of([figures_of(whole, self._listener), *several])
        addresses = self._addresses()
        return OverviewView(
            version=__version__,
            instance=socket.gethostname(),
            started_at_us=self._started_at_us,
            pid=os.getpid(),
            listen=addresses.listen,
            api_listen=addresses.api_listen,
            problems=problems(self._facts(sight, calls, cluster)),
            waiting=WaitingView(figures.pending, sight.oldest_accepted_at_us),
            dead=DeadView(figures.dead, sight.last_letters),
            disk=self._disk(figures),
            lanes=LaneCounts(sight.lanes, sight.failing_total, sight.held_total),
            calls=self._call_numbers(),
        )

    async def _other_sights(self) -> list[Sight]:
        return [] if self._others is None else await self._others.sights()

    async def _other_figures(self) -> list[Figures]:
        return [] if self._others is None else await self._others.figures()

    def _facts(self, sight: Sight, calls: Sequence[CallLane], cluster: ClusterView) -> Facts:
        """`calls` are the applications with most calls."""
        down = [lane for lane in calls if lane.waiting and lane.breaker.state is not State.CLOSED]
        return Facts(
            now_us=self._whole.clock.wall_us(),
            not_ready=sight.not_ready,
            is_slow=sight.is_slow,
            forecast=self._forecast(),
            failing=sight.failing,
            failing_total=sight.failing_waiting_total,
            applications=[Ailing(lane.name, lane.waiting, None) for lane in down],
            applications_total=len(down),
            held=sight.held,
            held_total=sight.held_waiting_total,
            lacking_since_us=sight.lacking_since_us,
            descriptors_part=sight.descriptors_part,
            oldest=sight.oldest,
            dead_lately=sight.dead_lately,
            letters_dropped_in_s=self._dropped_in_s(sight.letters_age_s),
            letters_part=self._letters_part(sight.letters_bytes),
            audit_unkept=self._audit_unkept(),
            cluster=cluster,
        )

    def _forecast(self) -> Forecast | None:
        return foresee(self._history.points("disk_free_bytes"), STEP_S)

    def _disk(self, figures: Figures) -> DiskView:
        forecast = self._forecast()
        full_in_s = math.inf if forecast is None else forecast.full_in_s
        space = self._disks.space.get(TRANSACTION, Space(0, 0))
        return DiskView(
            free_bytes=space.free_bytes,
            total_bytes=space.total_bytes,
            log_bytes=figures.log_bytes,
            live_bytes=figures.live_bytes,
            full_in_s=int(full_in_s) if full_in_s <= _MOST_FULL_IN_S else None,
        )

    def _dropped_in_s(self, oldest_s: float | None) -> float | None:
        max_age_ms = self._retention.max_age_ms
        return max_age_ms / 1000 - oldest_s if max_age_ms and oldest_s is not None else None

    def _letters_part(self, size_bytes: int) -> float:
        most = self._retention.max_bytes
        return size_bytes / most if most else 0.0

    def _call_numbers(self) -> dict[str, int]:
        figures = self._calls.figures
        ended = {f"{how.value}_total": figures.ended[how] for how in CallState if how.has_ended}
        return {**self._calls.states(), "created_total": figures.created, **ended}
