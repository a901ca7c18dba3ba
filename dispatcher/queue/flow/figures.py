"""What one partition counts: plain integers, read when metrics are asked for."""

from __future__ import annotations

import asyncio
from collections import Counter

from dispatcher.core.histogram import Histogram
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.trail import Trail
from dispatcher.queue.pending.pending import Pending

DELIVERY_US = tuple(
    round(seconds * 1_000_000)
    for seconds in (
        *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        *(300, 1800, 7200, 86_400),
    )
)

MOMENTS_US = tuple(
    round(seconds * 1_000_000)
    for seconds in (
        *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
        *(1, 2.5, 5, 10, 30, 60),
    )
)


class Figures:
    """Counters since the start of the process (`…_total`, `attempts` by outcome, `delivery_us` from
    acceptance to delivery, `success_us` and `failure_us` of attempts, `accept_us` from a request to
    its durable record), and how many messages are under way now: `in_flight` attempts, and
    `burying` messages on their way to the dead-letter log, `stranded` those that can't get there
    (and are given up again after the next start). `fell` is set when one of them fell."""

    __slots__ = (
        "_newest_us",
        "_oldest_us",
        "_pending",
        "_told_total",
        "accept_us",
        "accepted_total",
        "attempts",
        "burying",
        "dead_total",
        "delivered_total",
        "delivery_us",
        "failure_us",
        "fell",
        "in_flight",
        "letters_too_large_total",
        "stranded",
        "success_us",
    )

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self.accepted_total = 0
        self.delivered_total = 0
        self.dead_total = 0
        self.attempts: Counter[str] = Counter()
        self.delivery_us = Histogram(DELIVERY_US)
        self.success_us = Histogram(MOMENTS_US)
        self.failure_us = Histogram(MOMENTS_US)
        self.accept_us = Histogram(MOMENTS_US)
        self._told_total = 0
        self._oldest_us = self._newest_us = 0
        self.in_flight = 0
        self.burying = 0
        self.stranded = 0
        self.letters_too_large_total = 0
        self.fell = asyncio.Event()

    def accepted(self, requested_us: int) -> None:
        """A message that came at this instant by the wall clock is durable now."""
        self.accepted_total += 1
        self._newest_us = requested_us
        if not self._oldest_us:
            self._oldest_us = requested_us

    def batch_stored(self, wall_us: int) -> None:
        """All messages of a batch have been told. Its first and its last one stand for half of them
        each, as what is stored together came in the order in which it lies there."""
        count = self.accepted_total - self._told_total
        if not count:
            return
        self._told_total += count
        older = count // 2
        if older:
            self.accept_us.observe(max(0, wall_us - self._oldest_us), older)
        self.accept_us.observe(max(0, wall_us - self._newest_us), count - older)
        self._oldest_us = 0

    def timed(self, trail: Trail, started_us: int, now_us: int) -> None:
        """A success is timed, for all that it stands for."""
        took_us = max(0, now_us - started_us)
        self.success_us.observe(took_us, trail.timed(took_us, now_us))

    def failed(
        self, trail: Trail, result: AttemptResult, started_us: int, now_us: int, *, answered: bool
    ) -> None:
        """An attempt went wrong, see `Trail.failed`; that it never left this machine says nothing
        of its destination."""
        took_us = max(0, now_us - started_us)
        self.failure_us.observe(took_us)
        if not result.ours:
            trail.failed(result, took_us, now_us, answered=answered)

    def strand(self) -> None:
        """A message that is being buried can't be."""
        self.burying -= 1
        self.stranded += 1

    def count_states(self) -> dict[str, int]:
        """Pending messages now, by the name of their state. Those on their way to the dead-letter
        log, or back from it, count as in flight."""
        scheduled = self._pending.timers.count + self._pending.lines.later
        dying = self.burying + self.stranded
        in_flight = self.in_flight + dying + self._pending.reviving
        ready = self._pending.index.count - scheduled - in_flight
        return {"ready": ready, "scheduled": scheduled, "in_flight": in_flight}
