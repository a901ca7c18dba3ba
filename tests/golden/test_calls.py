"""The events of calls: a log that any version wrote is read for ever."""

from __future__ import annotations

import pytest

from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from tests.golden.calls_life import live, load, reopened, state_of

EVENTS = {
    1: {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17},
    2: {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18},
    3: {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20},
    4: {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22},
}
"""The codes of the events that the golden log of each version has."""


@pytest.mark.parametrize("version", EVENTS)
def test_log_of_a_version_is_read_when_the_program_is_newer(version: int) -> None:
    """Every call, fact and kept result is there, with its bytes; also when the log begins with the
    copies."""
    found = load(version)
    payloads = [bytes.fromhex(payload) for _, payload in found["log"]]
    assert {payload[1] & 0x7F for payload in payloads if payload[0] in (16, 17)} >= EVENTS[version]
    assert {payload[0] for payload in payloads} >= {2, 16, 17}

    async def main(clock: SimulatedClock) -> None:
        bench = await reopened(clock, found["log"])
        assert await state_of(bench) == found["state"]
        assert not bench.store.lost
        bases = [call.base for call in bench.store.machine.calls.values()]
        needed = [one for one in found["log"] if one[0] >= min(bases)]
        kept = {"facts", "promises", "channels"}  # copied before the calls, or held where they are
        shorter = await reopened(clock, needed)
        state = await state_of(shorter)
        assert {k: v for k, v in state.items() if k not in kept} == {
            k: v for k, v in found["state"].items() if k not in kept
        }

    run(main)


def test_life_that_the_golden_log_is_of_is_still_what_is_written() -> None:
    """The newest version's file has the bytes that this program writes."""
    records = [[position, payload.hex()] for position, payload in run(live).log.records]
    assert records == load(max(EVENTS))["log"]
