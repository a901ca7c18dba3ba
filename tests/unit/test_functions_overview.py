"""Lanes of applications, as operators list them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from dispatcher.core.clock import SteadyClock
from dispatcher.functions.lanes.lanes import Lanes
from dispatcher.functions.views.overview import Overview
from dispatcher.queue.admin.pace import REST_SECONDS, SLICE_US, Pace
from dispatcher.queue.admin.selecting import AT_ONCE
from dispatcher.queue.admin.surface import LaneFilter, LaneOrder
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run

PARTS = 4


def overview(clock: SimulatedClock, pace: Pace) -> Overview:
    """Of so many lanes that they are gone through in `PARTS`."""
    nobody = cast(Any, None)
    lanes = Lanes(most=8)
    for number in range(PARTS * AT_ONCE):
        place = f"http://{number:03}.example"
        lanes.add(nobody, number, place, "f", root=number, is_resume=False)
    return Overview(
        *(nobody, nobody, nobody),
        results=nobody,
        waiting=nobody,
        lanes=lanes,
        clock=SteadyClock(clock),
        pace=pace,
    )


@pytest.mark.parametrize("is_figure", [False, True])
def test_who_lists_lanes_takes_turns_with_other_readers_and_figures_do_not(
    is_figure: bool,
) -> None:
    """However many read, the loop is theirs for one slice in each rest."""

    async def test(clock: SimulatedClock) -> None:
        asked = 0

        def now_us() -> int:  # each look at the clock is a slice later
            nonlocal asked
            asked += 1
            return asked * SLICE_US

        pace = Pace(now_us=now_us)
        view = overview(clock, pace)

        async def look() -> object:
            if is_figure:
                return await view.largest()
            return await view.lanes(LaneOrder.NAME, which=LaneFilter(), after="", limit=5)

        alone = await _took_s(look)
        reader = asyncio.gather(*(pace.rest() for _ in range(PARTS)))
        beside = await _took_s(look)
        await reader
        assert alone == pytest.approx(PARTS * REST_SECONDS)
        assert beside == pytest.approx(alone if is_figure else 2 * alone)

    run(test)


async def _took_s(work: Callable[[], Any]) -> float:
    now = asyncio.get_running_loop().time
    began = now()
    await work()
    return now() - began
