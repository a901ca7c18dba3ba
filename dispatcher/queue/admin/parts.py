"""What operators look at and change of one partition: its parts, by name."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.core.clock import SteadyClock
from dispatcher.queue.admin.changing import Changing
from dispatcher.queue.admin.giving_up import GivingUp
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.redirecting import Redirecting
from dispatcher.queue.admin.watching import Watch
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.deadletters.redrive import Redriver
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.flow.figures import Figures
from dispatcher.queue.flow.recent import Recent
from dispatcher.queue.flow.starting import Starting
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.lanes.lines import Lines
from dispatcher.queue.lanes.warm import Warm
from dispatcher.queue.pending.pending import Pending
from dispatcher.txlog import TransactionLog


@dataclass(slots=True, kw_only=True)
class Parts:
    """`traffic` is what the partitions of a process share, and so is `pace`, the turns of those who
    look at them."""

    partition: int
    traffic: Traffic
    pace: Pace
    log: TransactionLog
    committer: Committer
    clock: SteadyClock
    figures: Figures
    pending: Pending
    lanes: Lanes
    lines: Lines
    starting: Starting
    recent: Recent
    dead_letters: DeadLetters
    redriver: Redriver
    changing: Changing
    warm: Warm
    giving_up: GivingUp
    redirecting: Redirecting
    watch: Watch
