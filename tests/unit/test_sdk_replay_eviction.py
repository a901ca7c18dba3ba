"""A body that is forgotten in this process ends silently: it goes on elsewhere, from its record."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from dispatcher.sdk.replay import evicting
from dispatcher.sdk.replay.model import Ended, Evicted, Raised, Returned, Suspended
from dispatcher.testing.durable import (
    Body,
    Failed,
    advance,
    call,
    ended,
    failure,
    start,
    suspended,
)


@pytest.fixture
def noise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[list[object]]:
    """What is said anywhere during a test and after its garbage was collected: nothing."""
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        yield said
        gc.collect()
        said += [str(each.message) for each in caught]
        said += [record.getMessage() for record in caplog.records]
    assert said == []


def _evict(body: Body) -> None:
    run = start(body)
    suspended(run)
    run.close()
    del run
    gc.collect()


def test_eviction_runs_what_cleans_up_and_makes_no_call(noise: list[object]) -> None:
    """`finally` runs, here and now, and every operation in it raises."""
    seen: list[str] = []

    async def pipeline() -> None:
        try:
            await call("one")
        except Evicted:
            seen.append("evicted")
            raise
        finally:
            try:
                await call("cleanup")
            finally:
                seen.append("cleaned up")

    _evict(pipeline)
    assert seen == ["evicted", "cleaned up"]


def test_eviction_goes_on_when_code_that_cleans_up_waits(noise: list[object]) -> None:
    """It is thrown in again, until the coroutine has ended; which task it is in can be asked."""
    seen: list[object] = []

    async def pipeline() -> None:
        try:
            await call("one")
        except Evicted:
            async with asyncio.timeout(5):
                await asyncio.sleep(1)
        finally:
            task = asyncio.current_task()
            seen.append(task and task.get_name())

    _evict(pipeline)
    assert seen == ["the body"]


async def _generator(seen: list[str]) -> AsyncIterator[int]:
    try:
        yield await call("one")
        yield await call("two")
    finally:
        try:
            await call("three")
        finally:
            seen.append("ended")


def test_eviction_ends_a_generator_that_waits(noise: list[object]) -> None:
    """`close()` of a coroutine does not reach it before Python 3.13."""
    seen: list[str] = []

    async def pipeline() -> None:
        async for _ in _generator(seen):
            pass

    _evict(pipeline)
    assert seen == ["ended"]


def test_eviction_ends_a_generator_that_was_broken_off(noise: list[object]) -> None:
    """Its `finally` waits in a task of the body, never in one of the application's loop."""
    seen: list[str] = []

    async def pipeline() -> None:
        async for _ in _generator(seen):
            break
        await call("after")

    run = start(pipeline)
    suspended(run)
    outcome = suspended(run, ended(0, 1))
    assert [each.operation.function for each in outcome.calls] == ["after", "three"]
    run.close()
    assert seen == ["ended"]


def test_eviction_ends_a_generator_that_is_held_between_values(noise: list[object]) -> None:
    """One that nobody waits in at the moment is ended as well."""
    seen: list[str] = []
    held: list[Any] = []

    async def pipeline() -> None:
        generator = _generator(seen)
        held.append(generator)
        await anext(generator)
        await call("after")

    run = start(pipeline)
    suspended(run)
    suspended(run, ended(0, 1))
    run.close()
    assert seen == ["ended"]


def test_eviction_warns_of_no_coroutine_that_would_have_been_awaited(noise: list[object]) -> None:
    """Coroutines in locals and in a `finally` are lost with the body."""

    async def one() -> None:
        await call("one")

    async def pipeline() -> None:
        later = one()
        try:
            await one()
        finally:
            await asyncio.gather(one(), one())
        await later

    _evict(pipeline)


def test_eviction_is_silent_when_tasks_and_groups_wait(noise: list[object]) -> None:
    """No task is destroyed but pending, and no exception was never retrieved."""

    async def fails() -> None:
        raise Failed("nobody asks")

    async def pipeline() -> None:
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(Failed("nobody asks"))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for name in ("one", "two", "three"):
                group.create_task(call(name))
            await asyncio.shield(asyncio.gather(call("four"), asyncio.sleep(5)))

    _evict(pipeline)


def test_eviction_comes_back_when_the_body_swallows_everything(noise: list[object]) -> None:
    """`while True` around `except BaseException` is left waiting, and kept: were it collected, its
    `finally` would run outside of its loop."""
    ends: list[str] = []
    released: list[bool] = []

    async def pipeline() -> None:
        try:
            while not released:
                with contextlib.suppress(BaseException):
                    await call("one")
        finally:
            ends.append("ended")

    run = start(pipeline)
    suspended(run)
    before = len(evicting.graveyard)
    run.close()
    assert len(evicting.graveyard) == before + 1
    assert ends == []
    released.append(True)  # else it would go round for ever at the end of this process
    evicting.graveyard.pop()


def test_eviction_ends_tasks_that_have_not_begun(noise: list[object]) -> None:
    """A fault stops the loop before they do."""

    async def pipeline() -> None:
        for _ in range(3):
            asyncio.create_task(call("one"))  # noqa: RUF006
        await asyncio.to_thread(print)

    advance(start(pipeline))
    gc.collect()


def test_task_that_nobody_holds_goes_on_when_garbage_is_collected() -> None:
    """asyncio has weak references to tasks only."""

    async def beside() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cycle = future  # type: ignore[attr-defined]
        await call("beside")
        await call("beside again")

    async def pipeline() -> None:
        asyncio.create_task(asyncio.wait_for(beside(), 60))  # noqa: RUF006
        await call("one")

    run = start(pipeline)
    suspended(run)
    gc.collect()
    outcome = suspended(run, ended(1, 1))
    assert [each.operation.function for each in outcome.calls] == ["beside again"]
    run.close()


def test_exception_that_nobody_retrieves_is_logged_once_when_the_body_is_replayed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The run that first came by it logs it; what is replayed was logged by that one."""

    async def fails() -> None:
        raise Failed("nobody asks")

    async def pipeline() -> None:
        task = asyncio.create_task(fails())
        await call("one")
        del task
        await call("two")

    run = start(pipeline)
    suspended(run)
    suspended(run, ended(0, 1))
    gc.collect()
    logged = [record.getMessage() for record in caplog.records]
    assert logged == ["pipeline: Task exception was never retrieved"]
    again = start(pipeline, run.state())
    suspended(again)
    gc.collect()
    assert len(caplog.records) == 1
    run.close()
    again.close()


def test_error_of_a_callback_is_logged_once_when_the_body_is_replayed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As all that goes to the exception handler of a loop."""

    async def pipeline() -> None:
        asyncio.get_running_loop().call_soon(int, "no number")
        await call("one")

    run = start(pipeline)
    suspended(run)
    again = start(pipeline, run.state())
    suspended(again)
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith("pipeline: Exception in callback int(")
    run.close()
    again.close()


def test_errors_of_many_tasks_are_logged_when_the_body_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """None of them is lost because the body is forgotten right then."""

    async def fails() -> None:
        raise Failed("nobody asks")

    async def pipeline() -> None:
        for _ in range(50):
            asyncio.create_task(fails())  # noqa: RUF006
        await asyncio.sleep(0)

    advance(start(pipeline))
    gc.collect()
    assert len(caplog.records) == 50


def test_body_is_forgotten_when_it_ends(noise: list[object]) -> None:
    """What it leaves behind, tasks and generators, ends with it."""
    seen: list[str] = []

    async def beside() -> None:
        try:
            await call("beside")
        finally:
            seen.append("ended")

    async def pipeline() -> None:
        asyncio.create_task(beside())  # noqa: RUF006
        await call("one")

    run = start(pipeline)
    suspended(run)
    assert isinstance(advance(run, Ended(0, failure())), Raised)
    assert seen == ["ended"]
    with pytest.raises(RuntimeError, match="is over"):
        advance(run)


async def _clean_up(seen: list[object]) -> None:
    try:
        seen.append(await call("cleanup"))
    except BaseException as error:
        seen.append(type(error))
        raise


async def _every_kind_of_wait(seen: list[object]) -> None:
    async def values() -> AsyncIterator[int]:
        try:
            yield await call("value")
        finally:
            await _clean_up(seen)

    async def child(name: str) -> None:
        try:
            await call(name)
        finally:
            await _clean_up(seen)

    try:
        await call("one")
        await asyncio.gather(call("two"), child("three"))
        async with asyncio.timeout(60):
            await child("four")
        async with asyncio.TaskGroup() as group:
            group.create_task(child("five"))
            group.create_task(child("six"))
        async with asyncio.Semaphore(1):
            await asyncio.wait_for(child("seven"), 60)
        await asyncio.shield(child("eight"))
        await asyncio.wait([asyncio.create_task(child("nine"))])
        async for _ in values():
            await call("ten")
    finally:
        await _clean_up(seen)


def _suspensions() -> int:
    """How often that body waits, until it ends."""
    run, events, count = start(lambda: _every_kind_of_wait([])), list[Ended](), 0
    while isinstance(outcome := advance(run, *events), Suspended):
        events, count = [ended(each.id, 1) for each in outcome.calls], count + 1
    assert isinstance(outcome, Returned), outcome
    return count


@pytest.mark.parametrize("times", range(_suspensions()))
def test_eviction_is_silent_and_asks_for_nothing_at_every_await(
    times: int, noise: list[object]
) -> None:
    """Wherever the body waits, what cleans up runs in vain: the state stays what the server has."""
    seen: list[object] = []
    run = start(lambda: _every_kind_of_wait(seen))
    outcome = suspended(run)
    for _ in range(times):
        outcome = suspended(run, *[ended(each.id, 1) for each in outcome.calls])
    stored = run.state()
    seen.clear()
    run.close()
    assert set(seen) == {Evicted}
    assert run.state() == stored
