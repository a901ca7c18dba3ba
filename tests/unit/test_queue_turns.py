"""Turns: one destination, or many that never answer, do not hold all workers."""

from __future__ import annotations

import asyncio

from dispatcher.core.outcome import Failure
from dispatcher.testing.queue import Bench, destination, failed, message, simulate


async def _make_well(bench: Bench, name: str, successes: int = 40) -> None:
    """Let a destination answer until its limit is far up."""
    for n in range(successes):
        bench.accept(message(destination(name), name=f"warm{n}"))
    await asyncio.sleep(0.01)
    while bench.deliverer.flying:
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.01)


def test_lane_that_is_alone_gets_all_workers() -> None:
    """A limit may reach WORKER."""

    async def test(bench: Bench) -> None:
        await _make_well(bench, "a")
        for n in range(30):
            bench.accept(message(destination("a"), name=f"a{n}"))
        await asyncio.sleep(0.01)
        assert bench.queue.in_flight == 10

    simulate(test, workers=10)


def test_destination_that_hangs_leaves_a_worker_for_the_others() -> None:
    """It was well, has many messages, and then never answers: the message of another one still goes
    out at once."""

    async def test(bench: Bench) -> None:
        await _make_well(bench, "other", 1)
        await _make_well(bench, "hangs")
        for n in range(30):
            bench.accept(message(destination("hangs"), name=f"h{n}"))
        await asyncio.sleep(0.01)
        assert bench.queue.in_flight == 9
        bench.accept(message(destination("other"), name="prompt"))
        await asyncio.sleep(0.01)
        assert bench.deliverer.flying[-1].target == "/prompt"

    simulate(test, workers=10)


def test_many_destinations_that_never_answer_have_half_of_the_workers() -> None:
    """Once their first attempts have timed out, a destination that answers is served at once."""

    async def test(bench: Bench) -> None:
        for n in range(50):
            for _ in range(3):
                bench.accept(message(destination(f"dead{n}"), name=f"dead{n}"))
        await asyncio.sleep(0.01)
        for _ in range(150):
            bench.end(bench.deliverer.flying[0], failed(failure=Failure.TIMEOUT))
        await asyncio.sleep(3)
        assert bench.queue.in_flight == 5
        for n in range(20):
            bench.accept(message(destination("alive"), name=f"alive{n}"))
            await asyncio.sleep(0.01)
            sent = bench.deliverer.flying[-1]
            assert sent.target == f"/alive{n}"
            bench.end(sent)
        # What was held aside is not forgotten: all of it goes out once it is answered.
        while bench.queue.pending.index.count:
            for sent in list(bench.deliverer.flying):
                bench.end(sent)
            await asyncio.sleep(0.5)

    simulate(test, workers=10)
