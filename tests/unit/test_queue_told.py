"""What is said of a destination that is left alone: once, however long that takes."""

from __future__ import annotations

import asyncio

from dispatcher.core.message import Message
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

NAME = "http://a.example"


async def fail(bench: Bench, count: int, retry_after: bytes | None = None) -> None:
    """Let attempts fail, one after the other."""
    for _ in range(count):
        bench.end(await attempt(bench), failed(503, retry_after=retry_after))


async def attempt(bench: Bench) -> Message:
    """The next attempt."""
    while not bench.deliverer.flying:  # noqa: ASYNC110  # the clock is simulated
        await asyncio.sleep(0.1)
    return bench.deliverer.flying[0]


def told(bench: Bench) -> list[str]:
    """Why it was said to be left alone, each time."""
    assert {name for name, _, _ in bench.notes.paused} <= {NAME}
    return [why for _, _, why in bench.notes.paused]


def test_breaker_that_opens_is_told_once_until_the_destination_answers() -> None:
    """However often a probe fails meanwhile, and although it had asked for a rest before."""

    async def test(bench: Bench) -> None:
        for number in range(30):
            bench.accept(message(destination("a.example"), name=f"m{number}"))
        await asyncio.sleep(0.01)
        await fail(bench, 1, retry_after=b"1")
        await fail(bench, 1, retry_after=b"2")
        assert told(bench) == ["retry_after"]
        await fail(bench, 20)
        assert told(bench) == ["retry_after", "breaker"]
        assert [result.status for result in bench.notes.paused_after] == [503, 503]
        await fail(bench, 3, retry_after=b"3")
        assert told(bench) == ["retry_after", "breaker"]
        bench.end(await attempt(bench))
        assert bench.notes.resumed == [NAME]
        await fail(bench, 12)
        assert told(bench) == ["retry_after", "breaker", "breaker"]

    simulate(test)
