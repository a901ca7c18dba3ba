"""The records of the queue: a log that any version wrote is read for ever."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench
from tests.golden.queue_life import POLICY, keys_of, load, log_of, options_of, state_of

KINDS = {
    1: {1, 2, 3, 4, 5, 9},
    2: {1, 2, 5, 9, 10, 11},
    3: {1, 2, 5, 9, 10, 11},
    4: {1, 2, 5, 9, 10, 11},
    5: {1, 2, 5, 9, 10, 11, 19},
    6: {1, 2, 5, 9, 10, 11, 19, 20, 21, 23, 24},
    7: {1, 2, 5, 9, 10, 11, 19, 20, 21, 24},
    8: {1, 2, 5, 9, 10, 11, 19, 20, 21, 24},
}
"""The kinds of record that the golden transaction log of each version has."""
DEAD_KINDS = {
    1: {7, 8},
    2: {7, 8},
    3: {8, 14},
    4: {2, 8, 14, 18},
    5: {2, 8, 14, 18},
    6: {2, 8, 14, 18, 22},
    7: {2, 8, 14, 18, 22},
    8: {2, 8, 14, 18, 22, 25},
}
"""The same of its dead-letter log."""


@pytest.mark.parametrize("version", KINDS)
def test_log_of_a_version_is_read_when_the_program_is_newer(version: int) -> None:
    """Everything that waited waits, with its attempts, and what was over is over."""
    found = load(version)
    assert {bytes.fromhex(payload)[0] for _, payload in found["log"]} >= KINDS[version]
    assert {bytes.fromhex(payload)[0] for _, payload in found["dead_log"]} >= DEAD_KINDS[version]

    async def main(clock: SimulatedClock) -> None:
        bench = Bench(
            clock, log=log_of(found["log"]), dead_log=log_of(found["dead_log"]), policy=POLICY
        )
        await bench.open()
        state = state_of(bench)
        if "keys" in found["state"]:
            state["keys"] = keys_of(bench)
        if "options" in found["state"]:
            state["options"] = await options_of(bench)
        assert state == found["state"]
        bench.queue.start(bench.deliverer)
        clock.advance(us=90_000 * 10**6)  # in one step: all that waited for a retry is due
        await asyncio.sleep(10)
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
            await asyncio.sleep(1)
        assert bench.queue.pending.index.count == 1, "all but what is paused was delivered"
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 1, "what was delivered stays delivered"
        assert not bench.notes.errors
        assert not bench.notes.lost

    run(main)
