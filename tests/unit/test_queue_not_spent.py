"""What this machine lacks is charged to no message and to no destination."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from dispatcher.core.breaker import State
from dispatcher.queue.records.history import decode_history
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

LACKING = replace(failed(), ours=True)


async def _under_way(bench: Bench) -> None:
    """Wait for an attempt; simulated time passes until there is one."""
    while not bench.deliverer.flying:  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.2)


def test_attempt_that_failed_for_a_reason_of_this_machine_is_made_again_with_its_number() -> None:
    """Two hundred times, with a rest: attempts, history, limit and breaker are as before, also
    after a restart, and when it goes well at last it was the first attempt."""

    async def test(bench: Bench) -> None:
        for n in range(3):
            bench.accept(message(name=f"well{n}"))
            await asyncio.sleep(0.01)
            bench.end(bench.deliverer.flying[0])
        bench.accept(message(name="lacks"))
        peer = bench.queue.lanes.of(destination()).peer
        limit = peer.limit.value
        assert limit == 4
        began = bench.clock.monotonic_us()
        for round_ in range(200):
            await _under_way(bench)
            (sent,) = bench.deliverer.flying
            assert sent.attempt == 1
            assert decode_history(sent.history) == []
            if round_ == 100:
                await bench.crash()
                await bench.start()
                continue
            peer = bench.queue.lanes.of(destination()).peer
            bench.end(sent, LACKING)
            assert peer.breaker.state is State.CLOSED
            if round_ < 100:
                assert peer.limit.value == limit
        assert bench.clock.monotonic_us() - began > 150_000_000
        await _under_way(bench)
        bench.end(bench.deliverer.flying[0])
        assert bench.queue.figures.delivered_total == 1
        assert not bench.notes.dead

    simulate(test)


def test_destination_rests_longer_each_time_while_this_machine_lacks_something() -> None:
    """All its messages, for as long as that has lasted, at most half a minute; a success ends
    it."""

    async def test(bench: Bench) -> None:
        for n in range(500):
            bench.accept(message(name=f"m{n}"))
        rounds: list[float] = []
        began = bench.clock.monotonic_us()
        ended = 0
        while len(rounds) < 20:
            await _under_way(bench)
            rounds.append((bench.clock.monotonic_us() - began) / 1e6)
            while bench.deliverer.flying:
                bench.end(bench.deliverer.flying[0], LACKING)
                ended += 1
            await asyncio.sleep(0.2)
        rests = [b - a for a, b in pairwise(rounds)]
        assert rests[-1] == pytest.approx(30, abs=1)
        assert sorted(rests[-6:]) == pytest.approx(rests[-6:], abs=0.5)
        assert ended < 50
        await _under_way(bench)
        bench.end(bench.deliverer.flying[0])
        peer = bench.queue.lanes.of(destination()).peer
        assert (peer.calm, peer.rests_until, peer.lacking_since) == (True, 0, 0)

    simulate(test)
