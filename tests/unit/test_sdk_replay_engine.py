"""A durable body run against its record: what it wants, what it is told, what is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from dispatcher.sdk.replay.model import Returned
from dispatcher.testing.durable import (
    BEGAN_US,
    advance,
    call,
    close_all,
    ended,
    sleep,
    start,
    suspended,
)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


async def _pipeline() -> tuple[int, list[int]]:
    first = await call("transform", 1)
    await sleep(60)
    both = list(await asyncio.gather(call("left", first), call("right", first)))
    await asyncio.sleep(0.5)
    return first, both


def test_body_goes_on_from_its_state_when_it_is_run_cold_each_time() -> None:
    """Each activation knows nothing but the state that the one before it answered."""
    run = start(_pipeline)
    outcome = suspended(run)
    assert [(each.id, each.operation.function) for each in outcome.calls] == [(0, "transform")]
    assert (outcome.outstanding, outcome.missing, outcome.wake_us) == (1, 1, None)

    run = start(_pipeline, run.state())
    outcome = suspended(run, ended(0, 7), after_s=1)
    assert (outcome.calls, outcome.wake_us) == ([], BEGAN_US + 61_000_000)

    run = start(_pipeline, run.state())
    outcome = suspended(run, after_s=61)
    assert [each.operation.function for each in outcome.calls] == ["left", "right"]
    assert outcome.outstanding == 2

    run = start(_pipeline, run.state())
    outcome = suspended(run, ended(3, 9), ended(2, 8), after_s=62)
    assert (outcome.calls, outcome.wake_us) == ([], BEGAN_US + 62_500_000)

    run = start(_pipeline, run.state())
    assert advance(run, after_s=63) == Returned((7, [8, 9]), [])
