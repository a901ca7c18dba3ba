"""The records of the results' log: a log that any version wrote is read for ever."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.functions.results.reading import Standing
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from tests.golden.results_life import live, load, opened, state_of

KINDS = {1: {2, 64, 65, 66}}
"""The kinds of record that the golden log of each version has."""


@pytest.mark.parametrize("version", KINDS)
def test_results_of_a_version_are_read_when_the_program_is_newer(version: int) -> None:
    """Every result that was there is there, byte for byte; what was forgotten is not."""
    found = load(version)
    assert {bytes.fromhex(payload)[0] for _, payload in found["log"]} == KINDS[version]

    async def main(clock: SimulatedClock) -> None:
        clock.set_wall_clock(found["now_us"])
        bench = await opened(clock, found["log"])
        assert await state_of(bench) == found["state"]
        assert bench.results.find(bench.key(0, 1)) is Standing.EXPIRED
        clock.advance(us=2 * 24 * 3600 * 10**6)  # in one step
        await asyncio.sleep(600)
        assert not len(bench.results), "and it expires as any other"
        await bench.results.stop()
        assert not bench.deaths

    run(main)


def test_golden_life_has_every_kind_that_is_written_now() -> None:
    """The recipe of the newest golden file is still that of the program."""
    log, _ = live()
    assert {payload[0] for _, payload in log.records} == KINDS[max(KINDS)]
