"""Calls are looked through in slices, at the pace of all who look at the partition."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dispatcher.functions.service import FunctionService
from dispatcher.functions.shown import CallFilter
from dispatcher.queue.partition import Partition
from dispatcher.testing.calls import KEY, a_call
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, message
from tests.unit.test_functions_idle import service

CALLS = 5_000
RESTS = 10


@pytest.mark.parametrize(("is_busy", "rest_s"), [(False, 0.001), (True, 0.004)])
def test_calls_are_listed_slowly_only_while_something_is_stored(
    tmp_path: Path, is_busy: bool, rest_s: float
) -> None:
    """A page of few among many takes a quarter of the time while nobody sends or receives."""

    async def main(clock: SimulatedClock) -> None:
        services: list[FunctionService] = []

        def host(partition: Partition) -> None:
            services.append(service(partition, clock, tmp_path / "signing.pem"))

        bench = Bench(clock, prepare=host)
        await bench.open()
        (one,) = services
        await one.open("test", 1)
        bench.queue.start(bench.deliverer)
        one.start()
        one.machine.calls.update({KEY + n: a_call(KEY + n) for n in range(CALLS)})
        bench.accept(message())
        await asyncio.sleep(0.01)
        await bench.queue.admin.pace.rest()
        if not is_busy:
            await asyncio.sleep(1)
        began_s = asyncio.get_running_loop().time()
        await one.looking.page(CallFilter(), limit=10, cursor=None, only=None)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(RESTS * rest_s)
        one.machine.calls.clear()

    run(main)
