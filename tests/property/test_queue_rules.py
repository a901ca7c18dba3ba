"""The queue under rules that change, with whatever destinations answer: what rules bound holds at
every instant, and nothing is left behind when they are gone."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.core.message import Message
from dispatcher.core.rate import Rate
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, destination, failed, message

NAMES = ("a", "b.a", "c")
DRIFT_US = 2
"""Of timers, which count in seconds: an attempt may start so much before the model's token."""


@dataclass
class Model:
    """One destination, as its rule says: the instants of the last starts, and what is in flight."""

    rate: Rate | None = None
    most: int = 0
    flying: int = 0
    since_us: int = 0
    starts: deque[int] = field(default_factory=deque)

    def change(self, rate: Rate | None, most: int, now_us: int) -> None:
        """Another rule holds. What started before it is not counted by its rate."""
        self.most = most
        if rate != self.rate:
            self.rate, self.since_us = rate, now_us
            self.starts.clear()

    def start(self, now_us: int) -> None:
        """An attempt starts: it must be allowed to, in every window that ends now."""
        self.flying += 1
        assert not self.most or self.flying <= self.most
        self.starts.append(now_us)
        if self.rate is not None:
            for number, began_us in enumerate(reversed(self.starts)):
                passed_us = now_us - began_us + DRIFT_US
                allowed = self.rate.burst + passed_us * self.rate.count // self.rate.period_us
                assert number + 1 <= allowed, "more than the rate and a burst"


rates = st.none() | st.builds(
    Rate, st.integers(1, 20), st.sampled_from([1_000_000, 10_000_000]), st.integers(1, 5)
)
rules = st.builds(
    Rule,
    st.sampled_from(["a", "*.a", "*", "c"]).map(Match.parse),
    rate=rates,
    concurrency=st.none() | st.integers(1, 4),
)
steps = st.one_of(
    st.tuples(st.just("accept"), st.sampled_from(NAMES), st.integers(1, 8)),
    st.tuples(st.just("end"), st.sampled_from([200, 200, 200, 500, 503]), st.integers(1, 8)),
    st.tuples(st.just("sleep"), st.sampled_from([1, 50, 300, 2000, 70_000]), st.just(0)),
    st.tuples(st.just("rules"), st.lists(rules, max_size=3), st.just(0)),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(rules, min_size=1, max_size=3), st.lists(steps, max_size=40))
def test_rules_hold_at_every_start_and_nothing_is_lost(
    first: list[Rule], played: list[tuple[str, object, int]]
) -> None:
    """Rates in every window, concurrency at every instant, for each destination on its own; with
    the rules gone, every message gets its end."""

    async def main(clock: SimulatedClock) -> None:
        in_force = RulesInForce()
        bench = await Bench(clock, rules=in_force).start()
        now_us = bench.queue.clock.now_us
        models = {destination(name): Model() for name in NAMES}

        def put_into_force(new: list[Rule]) -> None:
            in_force.replace(Rules(new))
            for to, model in models.items():
                rule = in_force.all.of_whole(to)
                most = 0 if rule is None else rule.concurrency or 0
                # What is in flight already goes on.
                model.change(
                    None if rule is None else rule.rate,
                    max(most, model.flying) if most else 0,
                    now_us(),
                )
            bench.queue.traffic.rules_changed()

        def started(sent: Message) -> None:
            models[sent.destination].start(now_us())

        def end(sent: Message, status: int) -> None:
            models[sent.destination].flying -= 1
            bench.end(sent, 200 if status == 200 else failed(status))

        bench.deliverer.on_start = started
        put_into_force(first)
        for kind, what, count in played:
            if kind == "accept":
                for _ in range(count):
                    bench.accept(message(destination(str(what))))
                await asyncio.sleep(0.001)
            elif kind == "end":
                assert isinstance(what, int)
                for sent in list(bench.deliverer.flying)[:count]:
                    end(sent, what)
            elif kind == "sleep":
                assert isinstance(what, int)
                await asyncio.sleep(what / 1000)
            else:
                assert isinstance(what, list)
                put_into_force(what)
        put_into_force([])
        for _ in range(400):
            for sent in list(bench.deliverer.flying):
                end(sent, 200)
            await asyncio.sleep(1)
            if not bench.queue.pending.index.count:
                break
        assert bench.queue.pending.index.count == 0
        await bench.stop()

    run(main)
