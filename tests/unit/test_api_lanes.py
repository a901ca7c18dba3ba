"""Thousands of lanes, looked at while messages come and go."""

from __future__ import annotations

import asyncio

from dispatcher.queue.admin import LaneView
from dispatcher.testing.queue import Bench, destination, message, simulate


def test_many_lanes_are_told_by_name_with_rests_in_between() -> None:
    """Each once, however they are divided; others get their turn on the loop meanwhile."""
    names = [f"{number * 7919 % 1009:04}.example" for number in range(1009)]

    async def test(bench: Bench) -> None:
        for name in names:
            bench.accept(message(destination(name), name="x"))
        await asyncio.sleep(0.1)
        told: list[LaneView] = []
        turns = 0

        async def look() -> None:
            told.extend(await bench.queue.admin.lanes())

        task = asyncio.create_task(look())
        while not task.done():
            await asyncio.sleep(0.0005)
            turns += 1
        assert [lane.destination for lane in told] == [f"http://{name}" for name in sorted(names)]
        assert {lane.ready + lane.in_flight for lane in told} == {1}
        assert turns >= 10

    simulate(test)


def test_lanes_may_come_and_go_while_they_are_told() -> None:
    """A lane that is new may be missing, one that is gone may be there; the others are."""

    async def test(bench: Bench) -> None:
        for number in range(500):
            bench.accept(message(destination(f"{number:03}.example"), name="x"))
        await asyncio.sleep(0.1)
        task = asyncio.create_task(_told(bench))
        await asyncio.sleep(0.0005)
        for flying in list(bench.deliverer.flying):
            bench.end(flying)
        for number in range(500, 600):
            bench.accept(message(destination(f"{number:03}.example"), name="x"))
        bench.queue.lanes.forget_idle(bench.queue.now_us())
        told = await task
        assert told == sorted(set(told))
        assert len(told) > 400

    simulate(test)


async def _told(bench: Bench) -> list[str]:
    return [lane.destination for lane in await bench.queue.admin.lanes()]
