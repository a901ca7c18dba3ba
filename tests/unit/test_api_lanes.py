"""Thousands of lanes, looked at while messages come and go."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import LaneFilter, LaneOrder, LaneTrouble, LaneView
from dispatcher.queue.lanes.forgetting import IDLE_LANE_SECONDS
from dispatcher.testing.queue import Bench, destination, message, simulate


@pytest.fixture
def always_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is simulated: a slice would never be over."""
    monkeypatch.setattr(Pace, "is_over", property(lambda _: True))


@pytest.mark.usefixtures("always_over")
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
            told.extend(await _all(bench))

        task = asyncio.create_task(look())
        while not task.done():
            await asyncio.sleep(0.0005)
            turns += 1
        assert [lane.destination for lane in told] == [f"http://{name}" for name in sorted(names)]
        assert {lane.ready + lane.in_flight for lane in told} == {1}
        assert turns >= 11 * 1009 / 50  # pages, each of which looks at all lanes

    simulate(test)


@pytest.mark.usefixtures("always_over")
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
        bench.queue.lanes.forget(list(bench.queue.lanes), bench.queue.clock.now_us())
        told = await task
        assert told == sorted(set(told))
        assert len(told) > 400

    simulate(test)


async def _told(bench: Bench) -> list[str]:
    return [lane.destination for lane in await _all(bench)]


async def _all(bench: Bench) -> list[LaneView]:
    """Every page, one after the other."""
    lanes: list[LaneView] = []
    after: str | None = ""
    while after is not None:
        page = await bench.queue.admin.lanes(after=after, limit=100)
        lanes += page.items
        after = page.next_after
    return lanes


def test_lanes_with_most_messages_are_found_among_many() -> None:
    """In their order, and with the number of all; pages are by name only."""

    async def test(bench: Bench) -> None:
        for number in range(900):
            for _ in range(3 if number % 300 == 7 else 2):
                bench.accept(message(destination(f"{number:03}.example"), name="x"))
        await asyncio.sleep(0.1)
        page = await bench.queue.admin.lanes(LaneOrder.MESSAGES, limit=4)
        names = [lane.destination for lane in page.items]
        assert set(names[:3]) == {f"http://{number}.example" for number in ("007", "307", "607")}
        assert (page.total, page.next_after) == (900, None)

    simulate(test, workers=1)


def test_lanes_are_filtered_by_a_part_of_their_name_and_by_their_trouble() -> None:
    """In any case of letters; what an operator holds does not count as failing."""

    async def test(bench: Bench) -> None:
        for name in ("shop", "mail", "stock"):
            bench.accept(message(destination(f"{name}.example"), name="x"))
        await asyncio.sleep(0.1)
        admin = bench.queue.admin
        await admin.hold("http://stock.example")

        async def found(which: LaneFilter) -> list[str]:
            page = await admin.lanes(which=which)
            assert page.total == len(page.items)
            return [lane.destination for lane in page.items]

        assert await found(LaneFilter(part="o")) == ["http://shop.example", "http://stock.example"]
        assert await found(LaneFilter(trouble=LaneTrouble.HELD)) == ["http://stock.example"]
        failing = LaneFilter(trouble=LaneTrouble.FAILING)
        assert await found(failing) == []
        for lane in bench.queue.lanes:
            lane.peer.trail.failing_since = bench.queue.clock.now_us()
        await asyncio.sleep(61)
        assert await found(failing) == ["http://mail.example", "http://shop.example"]
        assert await found(LaneFilter(part="mail", trouble=LaneTrouble.FAILING)) == [
            "http://mail.example"
        ]

    simulate(test)


def test_idle_lanes_are_forgotten_some_at_a_time() -> None:
    """Others get their turn in between; in the end all of them are gone, and what was learned of
    their destinations too."""

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        for number in range(3500):
            bench.accept(message(destination(f"{number}.example")))
            if not number % 100:
                await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        lanes, peers = bench.queue.lanes, bench.queue.traffic.peers
        assert len(lanes) == len(peers) == 3500
        gone = []
        await asyncio.sleep(IDLE_LANE_SECONDS - 2)
        for _ in range(400_000):
            before = len(lanes)
            await asyncio.sleep(0.001)
            if before > len(lanes):
                gone.append(before - len(lanes))
            if not lanes:
                break
        assert max(gone) <= 1000
        assert len(lanes) == len(peers) == 0

    simulate(test)
