"""What the server knows of itself, for the overview and the history (`api.outlook.Outlook`)."""

from __future__ import annotations

import asyncio
import math
import os
import resource
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher import __version__
from dispatcher.api.health import Health
from dispatcher.api.outlook import (
    DeadView,
    DiskView,
    HistoryView,
    LaneCounts,
    LastLetter,
    OverviewView,
    WaitingView,
)
from dispatcher.core.breaker import State
from dispatcher.core.clock import QueueUs
from dispatcher.functions.lanes.lane import Lane as CallLane
from dispatcher.functions.shown import CallState
from dispatcher.functions.views.overview import Overview as CallOverview
from dispatcher.ingress.listener import Listener
from dispatcher.node.ailing import Ailments, ailing, find_ailing
from dispatcher.node.disks import TRANSACTION, Disks, Space
from dispatcher.node.history import STEP_S, STEP_US, Counts, Forecast, History, Sample, foresee
from dispatcher.node.problems import MOST_NAMED, Ailing, Facts, Oldest, problems
from dispatcher.node.whole import Whole
from dispatcher.queue.commit.stalls import Pace as DiskPace
from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.deadletters.retention import RetentionPolicy
from dispatcher.queue.lanes.gates import opens_at
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
    ) -> None:
        """`disks` are those of the logs: they are asked with each sample. `audit_unkept` says why
        the audit is not written."""
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
        self._sample()
        self._supervisor.forever("history", self._turn, every_s=1.0)

    async def _turn(self) -> None:
        """Wait for the end of a step, and take the sample that belongs to it."""
        await asyncio.sleep((STEP_US - self._whole.clock.now_us() % STEP_US) / 1_000_000)
        await self._disks.look()
        self._sample()

    def _sample(self) -> None:
        whole = self._whole
        attempts = whole.attempts()
        space = self._disks.space.get(TRANSACTION)
        self._history.add(
            whole.clock.now_us(),
            Sample(
                totals={
                    "accepted": whole.total(lambda part: part.figures.accepted_total),
                    "delivered": whole.total(lambda part: part.figures.delivered_total),
                    "dead": whole.total(lambda part: part.figures.dead_total),
                    "attempts_failed": sum(attempts.values()) - attempts.get("delivered", 0),
                    "refused": sum(self._listener.refused.values()),
                },
                gauges={
                    **whole.count_states(),
                    "dead_letters": whole.dead,
                    "log_bytes": whole.log_bytes,
                    "disk_free_bytes": None if space is None else space.free_bytes,
                },
                timings={
                    "accept": Counts.of(*(part.figures.accept_us for part in whole.parts)),
                    "attempt": Counts.of(
                        *(part.figures.success_us for part in whole.parts),
                        *(part.figures.failure_us for part in whole.parts),
                    ),
                },
            ),
        )

    def history(self) -> HistoryView:
        """See `Outlook`."""
        ends_at_us = self._whole.clock.to_wall(QueueUs(self._history.ends_at_us))
        return HistoryView(STEP_S, ends_at_us, self._history.series())

    async def overview(self) -> OverviewView:
        """See `Outlook`."""
        whole, clock = self._whole, self._whole.clock
        calls = await self._calls.largest()
        ailments = await find_ailing(whole.destinations, clock, self._pace, most=MOST_NAMED)
        used = await asyncio.to_thread(_descriptors_part)
        addresses = self._addresses()
        return OverviewView(
            version=__version__,
            instance=socket.gethostname(),
            started_at_us=self._started_at_us,
            pid=os.getpid(),
            listen=addresses.listen,
            api_listen=addresses.api_listen,
            problems=problems(self._facts(ailments, used, calls)),
            waiting=WaitingView(whole.pending, whole.oldest.accepted_at),
            dead=DeadView(whole.dead, self._last_letters()),
            disk=self._disk(),
            lanes=LaneCounts(ailments.lanes, ailments.failing_total, ailments.held_total),
            calls=self._call_numbers(),
        )

    def _facts(
        self, ailments: Ailments, descriptors_part: float, calls: Sequence[CallLane]
    ) -> Facts:
        """`calls` are the applications with most calls."""
        whole = self._whole
        down = [lane for lane in calls if lane.waiting and lane.breaker.state is not State.CLOSED]
        health = self._health()
        lacking = ailments.lacking_since
        since_us = whole.clock.wall_us() - _HOUR_US
        return Facts(
            now_us=whole.clock.wall_us(),
            not_ready=None if health.reason is None else (health.reason, health.message),
            is_slow=DiskPace.SLOW in whole.paces,
            forecast=self._forecast(),
            failing=[ailing(lane, whole.clock) for lane in ailments.failing],
            failing_total=ailments.failing_waiting_total,
            applications=[Ailing(lane.name, lane.waiting, None) for lane in down],
            applications_total=len(down),
            held=[ailing(lane, whole.clock) for lane in ailments.held],
            held_total=ailments.held_waiting_total,
            lacking_since_us=None if lacking is None else whole.clock.to_wall(QueueUs(lacking)),
            descriptors_part=descriptors_part,
            oldest=self._oldest(),
            dead_lately=whole.total(lambda part: part.dead_letters.letters.count_after(since_us)),
            letters_dropped_in_s=self._dropped_in_s(),
            letters_part=self._letters_part(),
            audit_unkept=self._audit_unkept(),
        )

    def _forecast(self) -> Forecast | None:
        return foresee(self._history.points("disk_free_bytes"), STEP_S)

    def _disk(self) -> DiskView:
        forecast, whole = self._forecast(), self._whole
        full_in_s = math.inf if forecast is None else forecast.full_in_s
        space = self._disks.space.get(TRANSACTION, Space(0, 0))
        return DiskView(
            free_bytes=space.free_bytes,
            total_bytes=space.total_bytes,
            log_bytes=whole.log_bytes,
            live_bytes=whole.live_bytes,
            full_in_s=int(full_in_s) if full_in_s <= _MOST_FULL_IN_S else None,
        )

    def _oldest(self) -> Oldest | None:
        oldest, now_us = self._whole.oldest, self._whole.clock.now_us()
        if oldest.accepted_at is None or oldest.lane is None or oldest.is_delayed:
            return None
        peer = oldest.lane.peer
        is_well = not (peer.held or peer.trail.failing_since or opens_at(peer, now_us))
        return Oldest(str(oldest.lane.destination), oldest.accepted_at, is_well)

    def _last_letters(self) -> list[LastLetter]:
        found = [one for part in self._whole.parts for one in _last_of(part.dead_letters.letters)]
        found.sort(key=lambda one: one.dead_at_us, reverse=True)
        return found[:_LAST_LETTERS]

    def _dropped_in_s(self) -> float | None:
        max_age_ms = self._retention.max_age_ms
        if not max_age_ms:
            return None
        ages_s = [
            part.dead_letters.uptime.now_s - part.dead_letters.letters.uptime_s[first]
            for part in self._whole.parts
            if (first := next(part.dead_letters.letters.alive(), None)) is not None
        ]
        return max_age_ms / 1000 - max(ages_s) if ages_s else None

    def _letters_part(self) -> float:
        most = self._retention.max_bytes
        size_bytes = self._whole.total(lambda part: part.dead_letters.letters.size_bytes)
        return size_bytes / most if most else 0.0

    def _call_numbers(self) -> dict[str, int]:
        figures = self._calls.figures
        ended = {f"{how.value}_total": figures.ended[how] for how in CallState if how.has_ended}
        return {**self._calls.states(), "created_total": figures.created, **ended}


def _descriptors_part() -> float:
    """How much of its file descriptors the process uses, 0 to 1. Blocks: with ten thousand of them
    counting takes 10 ms."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 0.0
    return len(os.listdir("/proc/self/fd")) / limit


def _last_of(letters: Letters) -> list[LastLetter]:
    """The last ones to die, the latest first."""
    found: list[LastLetter] = []
    for row in range(letters.rows - 1, max(-1, letters.rows - 1 - _MOST_ROWS), -1):
        if not letters.is_alive(row):
            continue
        cause = letters.cause(letters.cause_key(row))
        name = letters.id(row).decode("ascii")
        word = cause.error or (f"http_{cause.status}" if cause.status else cause.reason)
        found.append(LastLetter(name, cause.destination, word, letters.dead_at[row]))
        if len(found) == _LAST_LETTERS:
            break
    return found
