"""Durable functions, from the bytes of a request to the bytes of its answer."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.functions.spec import OnChange
from dispatcher.sdk.replay.model import Failure
from dispatcher.testing.runnables import (
    ALL,
    NOW_US,
    Asking,
    FakeRunnable,
    calls,
    failed,
    returned,
    runner,
    sleeps,
)


async def welcome(names: list[str]) -> object:
    await sleeps(60)
    return await asyncio.gather(*(calls("greet", name) for name in names))


@pytest.mark.parametrize("warm", [0, 100])
@pytest.mark.parametrize("features", [frozenset(), ALL])
async def test_a_function_sleeps_and_calls_others(features: frozenset[str], warm: int) -> None:
    """As it is written, kept in memory or not, with a server that knows our extensions or not."""
    now_us = NOW_US
    run = runner(FakeRunnable(welcome, durable=True), warm=warm, now_us=lambda: now_us)
    asking = Asking(run, "welcome", features)
    slept = await asking.first(["Ada", "Alan"])
    assert slept.poll.max_wait.seconds == 60
    assert not slept.poll.calls
    now_us += 60_000_000
    called = await asking.resume()
    assert [call.function for call in called.poll.calls] == ["greet", "greet"]
    assert not called.poll.HasField("max_wait")
    assert (called.poll.min_results, called.poll.max_results) == (1, 2)
    assert bool(called.poll.extends) == ("append" in features)
    first, second = (call.correlation_id for call in called.poll.calls)
    waits = await asking.resume({second: "Hello, Alan!"})
    assert waits.poll.max_results == 1
    assert returned(await asking.resume({first: "Hello, Ada!"})) == ["Hello, Ada!", "Hello, Alan!"]
