"""Waiting from outside for the result of a call."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.errors import Refused
from dispatcher.functions.ending.waiting import Waiting
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run


def test_all_who_wait_for_a_key_are_woken() -> None:
    """And nobody else."""

    async def main(clock: SimulatedClock) -> None:
        waiting = Waiting()
        waits = [asyncio.ensure_future(waiting.wait(key, 30)) for key in (1, 1, 2)]
        await asyncio.sleep(1)
        assert len(waiting) == 3
        waiting.wake(1)
        waiting.wake(3)
        assert [await waits[0], await waits[1]] == [True, True]
        assert len(waiting) == 1
        waiting.wake(2)
        waiting.wake(2)
        assert await waits[2]
        assert len(waiting) == 0
        assert clock.monotonic_us() < 2_000_000

    run(main)


def test_wait_ends_when_its_time_is_over() -> None:
    """False, after just that long, and nothing is left of it."""

    async def main(clock: SimulatedClock) -> None:
        waiting = Waiting()
        assert not await waiting.wait(1, 30)
        assert 30_000_000 <= clock.monotonic_us() < 30_100_000
        assert not await waiting.wait(1, 0)
        assert len(waiting) == 0
        waiting.wake(1)

    run(main)


def test_cancelled_wait_leaves_nothing_behind() -> None:
    """A caller who goes away frees its place, also in the turn in which it is woken."""

    async def main(clock: SimulatedClock) -> None:
        waiting = Waiting()
        one, other = (asyncio.ensure_future(waiting.wait(1, 30)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.wait([one])
        assert len(waiting) == 1
        waiting.wake(1)
        other.cancel()
        await asyncio.wait([other])
        assert other.cancelled()
        assert len(waiting) == 0

    run(main)


def test_one_too_many_is_refused() -> None:
    """The bound holds, and a place that is free again is taken."""

    async def main(clock: SimulatedClock) -> None:
        waiting = Waiting(most=2)
        waits = [asyncio.ensure_future(waiting.wait(key, 30)) for key in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await waiting.wait(3, 30)
        assert refused.value.refusal.slug == "too_many_wait"
        waiting.wake(1)
        await waits[0]
        waits.append(asyncio.ensure_future(waiting.wait(3, 30)))
        await asyncio.sleep(0)
        waiting.close()
        assert [await wait for wait in waits[1:]] == [False, False]
        assert not await waiting.wait(4, 30)

    run(main)
