"""Turns: one destination, or many that never answer, do not hold all workers."""

from __future__ import annotations

import asyncio

from dispatcher.testing.queue import Bench, destination, message, simulate


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
        assert bench.queue.traffic.workers.busy == 10

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
        assert bench.queue.figures.in_flight == 9
        bench.accept(message(destination("other"), name="prompt"))
        await asyncio.sleep(0.01)
        assert bench.deliverer.flying[-1].target == "/prompt"

    simulate(test, workers=10)
