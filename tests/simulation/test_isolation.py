"""Many destinations that hang, and the healthy ones beside them, in simulated time.

The same loads as `benchmarks.isolation`, but for the number of destinations. What is compared is
the same load without the sick ones; a healthy destination answers after 5 ms.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from random import Random

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.core.retry import RetryPolicy
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

_ANSWERS_S = 0.005
_TIMEOUT_S = 10.0
_POLICY = RetryPolicy(retry_limit=10, delay_ms=2000, max_delay_ms=3_600_000)


class World:
    """Destinations that answer, hang, or answer 503 now and then."""

    def __init__(self, bench: Bench, *, healthy: int, sick: int, broken: float = 0.0) -> None:
        self.bench = bench
        self.healthy = [destination(f"healthy{n}") for n in range(healthy)]
        self.sick = [destination(f"sick{n}") for n in range(sick)]
        self.delivered_at: dict[str, float] = {}
        self.accepted_at: dict[str, float] = {}
        self.most_each = 0
        self._each: Counter[bytes] = Counter()
        self._broken = broken
        self._random = Random(2)
        self._loop = asyncio.get_running_loop()
        bench.deliverer.on_start = self._started

    def _started(self, sent: Message) -> None:
        self.bench.deliverer.flying.remove(sent)
        key = sent.destination.key
        self._each[key] += 1
        self.most_each = max(self.most_each, self._each[key])
        if sent.destination.host.startswith("sick"):
            self._loop.call_later(_TIMEOUT_S, self._time_out, sent)
        else:
            self._loop.call_later(_ANSWERS_S, self._answer, sent)

    def _time_out(self, sent: Message) -> None:
        self._each[sent.destination.key] -= 1
        self.bench.queue.settling.failed(sent, failed(failure=Failure.TIMEOUT))

    def _answer(self, sent: Message) -> None:
        self._each[sent.destination.key] -= 1
        if self._random.random() < self._broken:
            self.bench.queue.settling.failed(sent, failed(503))
            return
        self.delivered_at[sent.target] = self._loop.time()
        self.bench.queue.settling.delivered(sent, 200)

    def accept(self, name: str, each: int) -> None:
        """So many messages for every destination, in an order that mixes them."""
        todo = [
            (to, f"{name}-{to.host}-{n}") for to in (*self.healthy, *self.sick) for n in range(each)
        ]
        self._random.shuffle(todo)
        for to, path in todo:
            self.accepted_at[f"/{path}"] = self._loop.time()
            self.bench.accept(message(to, b"", name=path))

    async def healthy_done(self, name: str, each: int, *, but: float = 0.0) -> float:
        """Seconds until the healthy ones have got all of theirs but this share."""
        began = self._loop.time()
        wanted = len(self.healthy) * each * (1 - but)
        while True:
            done = sum(target.startswith(f"/{name}-healthy") for target in self.delivered_at)
            if done >= wanted:
                return self._loop.time() - began
            assert self._loop.time() - began < 300, f"{done} of {wanted} are delivered"
            await asyncio.sleep(0.02)

    def p99_s(self, name: str) -> float:
        """What 99 of 100 of the delivered ones took from acceptance to delivery."""
        took = sorted(
            at - self.accepted_at[target]
            for target, at in self.delivered_at.items()
            if target.startswith(f"/{name}-")
        )
        return took[int(len(took) * 0.99)]


def _measure(workers: int, *, healthy: int, sick: int, broken: float = 0.0) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)

    async def test(bench: Bench) -> None:
        world = World(bench, healthy=healthy, sick=sick, broken=broken)
        world.accept("first", 1)
        found["first"] = await world.healthy_done("first", 1, but=broken * 2)
        world.accept("then", 4)
        found["then"] = await world.healthy_done("then", 4, but=broken * 2)
        found["p99"] = world.p99_s("then")
        assert world.most_each <= workers
        assert bench.queue.traffic.workers.busy <= workers

    simulate(test, workers=workers, workers_slow=10_000, policy=_POLICY)
    return found


@pytest.mark.parametrize("workers", [10, 64])
def test_healthy_destinations_keep_their_rate_while_a_quarter_of_all_hang(workers: int) -> None:
    """2 000, of which 500 hang: four fifths of the rate without those at least, nobody who
    answered once waits for two seconds, and those that were never tried get their first turn."""
    alone = _measure(workers, healthy=1500, sick=0)
    beside = _measure(workers, healthy=1500, sick=500)
    assert beside["then"] <= alone["then"] / 0.8 + 0.05
    assert beside["p99"] <= max(2, alone["p99"] / 0.8)
    assert beside["first"] <= alone["first"] + 500 * 0.03 / (workers / 2)


@pytest.mark.parametrize("workers", [10, 64])
def test_destinations_that_fail_now_and_then_are_not_behind_those_that_hang(workers: int) -> None:
    """400, of which 100 hang and the others answer 503 to one of fifty: the rate of those is kept,
    and what is not tried again is delivered at once."""
    alone = _measure(workers, healthy=300, sick=0, broken=0.02)
    beside = _measure(workers, healthy=300, sick=100, broken=0.02)
    assert beside["then"] <= alone["then"] / 0.8 + 0.1
    assert beside["p99"] < 4  # 2 s are RETRY_DELAY
