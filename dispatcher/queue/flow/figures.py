"""What one partition counts: plain integers, read when metrics are asked for."""

from __future__ import annotations

import asyncio
from collections import Counter

from dispatcher.core.histogram import Histogram
from dispatcher.queue.pending.pending import Pending

_DELIVERY_US = tuple(
    round(seconds * 1_000_000)
    for seconds in (
        *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        *(300, 1800, 7200, 86_400),
    )
)


class Figures:
    """Counters since the start of the process (`…_total`, `attempts` by outcome, `delivery_us` from
    acceptance to delivery), and how many messages are under way now: `in_flight` attempts, and
    `burying` messages on their way to the dead-letter log, `stranded` those that can't get there
    (and are given up again after the next start). `fell` is set when one of them fell."""

    __slots__ = (
        "_pending",
        "accepted_total",
        "attempts",
        "burying",
        "dead_total",
        "delivered_total",
        "delivery_us",
        "fell",
        "in_flight",
        "letters_too_large_total",
        "stranded",
    )

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self.accepted_total = 0
        self.delivered_total = 0
        self.dead_total = 0
        self.attempts: Counter[str] = Counter()
        self.delivery_us = Histogram(_DELIVERY_US)
        self.in_flight = 0
        self.burying = 0
        self.stranded = 0
        self.letters_too_large_total = 0
        self.fell = asyncio.Event()

    def strand(self) -> None:
        """A message that is being buried can't be."""
        self.burying -= 1
        self.stranded += 1

    def count_states(self) -> dict[str, int]:
        """Pending messages now, by the name of their state. Those on their way to the dead-letter
        log, or back from it, count as in flight."""
        scheduled = self._pending.timers.count
        dying = self.burying + self.stranded
        in_flight = self.in_flight + dying + self._pending.reviving
        ready = self._pending.index.count - scheduled - in_flight
        return {"ready": ready, "scheduled": scheduled, "in_flight": in_flight}
