"""A node of one process whose number of partitions changes from start to start, over logs in memory
and on simulated time: the partitions, and the router before them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.node.layout import Layout
from dispatcher.node.router import Router
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.queue import Bench, Receipts, message


class SpreadNode:
    """What outlives the process: the clock, the layout, and the logs of each partition that was
    ever there. `benches` are those of this start."""

    def __init__(self, clock: SimulatedClock, **options: Any) -> None:
        """`options` are of each partition's `Bench`; `on_start` is told every attempt."""
        self.clock = clock
        self.layout = Layout()
        self.benches: dict[int, Bench] = {}
        self.router = Router(1)
        self.on_start: Callable[[Message], None] = lambda message: None
        self._options = options
        self._logs: dict[int, tuple[FaultyLog, FaultyLog]] = {}
        self._starts = 0

    async def start(self, spread: int) -> None:
        """Start with so many partitions, and with those that are left of before."""
        self.layout = self.layout.changed(spread, self.clock.now_us())
        every = self.layout.partitions(self._logs)
        self._starts += 1
        former = [one.spread for one in self.layout.former]
        self.router = Router(spread, former=former, partitions=every)
        self.benches = {}
        for number in every:
            log, dead_log = self._logs.get(number, (None, None))
            bench = Bench(self.clock, log=log, dead_log=dead_log, partition=number, **self._options)
            bench._starts = self._starts * 1000
            bench.deliverer.on_start = lambda message: self.on_start(message)
            await bench.start()
            self.benches[number] = bench
            self.router.add(number, bench.queue.intake)

    async def stop(self) -> None:
        """End as a process does that was asked to; what is in flight is left."""
        for number, bench in self.benches.items():
            await bench.stop()
            self._logs[number] = (bench.log, bench.dead_log)

    def send(self, to: Any, name: str, terms: Terms | None) -> Receipts.One:
        """Hand a message in, as ingress does."""
        sent = message(to, name=name)
        sent.terms = terms
        receipt = Receipts().one()
        self.router.accept(sent, receipt)
        return receipt

    def holding(self) -> list[tuple[Bench, Message]]:
        """What is in flight, in each partition."""
        return [(bench, one) for bench in self.benches.values() for one in bench.deliverer.flying]
