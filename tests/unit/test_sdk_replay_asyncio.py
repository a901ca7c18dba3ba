"""asyncio in a durable body: what everybody knows of it, and the same in every replay."""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvloop

from dispatcher.sdk.replay.journal import decode
from dispatcher.sdk.replay.loop import running
from dispatcher.sdk.replay.model import Ended, Returned
from dispatcher.testing.durable import (
    BEGAN_US,
    Body,
    Failed,
    advance,
    call,
    close_all,
    ended,
    failure,
    replayed,
    sleep,
    start,
    suspended,
)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def _stir() -> list[object]:
    """Have the objects made next lie elsewhere in memory than those of the run before."""
    return [object() for _ in range(random.randrange(1, 200))]


def _played(body: Body, *events: Ended) -> object:
    """The value of a body that is run cold for each of these events, a second apart."""
    run = start(body)
    outcome = advance(run)
    for second, event in enumerate(events, 1):
        held = _stir()
        state = run.state()
        run.close()
        run = start(body, state)
        outcome = advance(run, event, after_s=second)
        del held
    assert isinstance(outcome, Returned), outcome
    return outcome.value


def test_task_group_cancels_in_the_order_in_which_tasks_were_made() -> None:
    """asyncio keeps them in a set. An order that reaches no operation is seen by nobody, and gives
    another value in each process."""
    ends: list[int] = []

    async def child(number: int) -> None:
        try:
            await call("work", number)
        finally:
            ends.append(number)

    async def pipeline() -> list[int]:
        ends.clear()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(12):
                    group.create_task(child(number))
        except* Failed:
            pass
        return list(ends)

    assert _played(pipeline, Ended(5, failure())) == [5, 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


def test_wait_gives_tasks_in_the_order_in_which_they_were_made() -> None:
    """Whoever walks the sets that `asyncio.wait` returns sees the same order everywhere."""

    async def pipeline() -> list[str]:
        names = "abcdefgh"
        tasks = [asyncio.create_task(call("work", n), name=c) for n, c in enumerate(names)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [task.get_name() for task in (*done, *pending)]

    assert _played(pipeline, ended(3, 1)) == ["d", "a", "b", "c", "e", "f", "g", "h"]


def test_as_completed_begins_coroutines_in_the_order_in_which_it_is_given_them() -> None:
    """Unpatched it walks a set of coroutines, and gives the result of one to another."""

    async def pipeline() -> list[int]:
        return [await each for each in asyncio.as_completed([call("f", n) for n in range(9)])]

    run = start(pipeline)
    calls = suspended(run).calls
    assert [each.operation.input.data[1] for each in calls] == list(range(9))
    run.close()
    order = [4, 8, 0, 1, 7, 2, 3, 6, 5]
    assert _played(pipeline, *[ended(n, n) for n in order]) == order


def test_gather_is_hashed_the_same_in_every_replay_when_it_is_waited_for() -> None:
    """What `asyncio.gather` returns is a future that the loop did not make."""

    async def pipeline() -> list[int]:
        groups = [asyncio.gather(call("f", n)) for n in range(8)]
        _, pending = await asyncio.wait(groups, return_when=asyncio.FIRST_COMPLETED)
        return [groups.index(each) for each in pending]

    assert _played(pipeline, ended(7, 1)) == [0, 1, 2, 3, 4, 5, 6]


def test_wait_for_makes_no_task_in_any_version() -> None:
    """Until 3.11 it does, and its operation would have another path than from 3.12 on."""

    async def pipeline() -> int:
        return await asyncio.wait_for(call("f"), 5)

    run = start(pipeline)
    suspended(run)
    assert run.tasks == 1
    suspended_at = suspended(run).wake_us
    assert suspended_at == BEGAN_US + 5_000_000
    with pytest.raises(TimeoutError):
        raise advance(run, after_s=5).error  # type: ignore[union-attr]  # it is Raised


async def test_wait_for_and_as_completed_are_asyncios_own_on_another_loop() -> None:
    """They are replaced for the whole process, and do there what they did."""
    start(_nothing)

    async def number(n: int) -> int:
        return n

    assert await asyncio.wait_for(number(1), 5) == 1
    assert {await each for each in asyncio.as_completed([number(1), number(2)])} == {1, 2}
    with pytest.raises(TypeError):
        next(iter(asyncio.as_completed(asyncio.Future())))


async def _nothing() -> None:
    pass


def test_names_imported_before_are_replaced_too() -> None:
    """`from asyncio import wait_for` in a module of the user holds the function itself."""
    start(_nothing)
    assert sys.modules["asyncio.tasks"].as_completed is asyncio.as_completed
    assert sys.modules["asyncio.tasks"].wait_for is asyncio.wait_for


def test_body_begins_in_an_empty_context_when_a_request_runs_it() -> None:
    """ContextVars of a middleware are there on the first run, and others on a replay."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []

    async def child() -> int:
        seen.append(variable.get())
        return await call("f")

    async def pipeline() -> None:
        seen.append(variable.get())
        variable.set(2)
        await asyncio.create_task(child())

    variable.set(1)
    run = start(pipeline)
    suspended(run)
    assert seen == [0, 2]
    assert variable.get() == 1
    run.close()


async def _numbers(clean: Callable[[], Any]) -> AsyncIterator[int]:
    try:
        yield await call("one")
        yield await call("two")
    finally:
        await clean()


async def test_generator_that_is_broken_off_ends_in_the_body_when_a_host_loop_runs() -> None:
    """The host's hooks would make it a task of the host: nobody would see its error or its call."""

    async def pipeline() -> int:
        async for _ in _numbers(lambda: call("cleanup")):
            break
        return await call("after")

    before = asyncio.all_tasks()
    run = start(pipeline)
    suspended(run)
    outcome = suspended(run, ended(0, 1))
    assert [each.operation.function for each in outcome.calls] == ["after", "cleanup"]
    assert asyncio.all_tasks() == before
    again = start(pipeline, run.state())
    assert advance(again, ended(2, 1), ended(1, 3)) == Returned(3, [])
    run.close()


def test_task_that_is_made_without_the_loop_is_one_of_the_body() -> None:
    """`asyncio.Task(…)` tells no loop of it; its operations have places of their own."""

    async def pipeline() -> list[int]:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.Task(call("f", n), loop=loop) for n in range(3)]
        return [await task for task in tasks]

    assert _played(pipeline, ended(2, 2), ended(1, 1), ended(0, 0)) == [0, 1, 2]


def test_primitives_of_asyncio_wait_for_each_other() -> None:
    """Locks, queues, events and semaphores need nothing but tasks that wake each other."""

    async def producer(queue: asyncio.Queue[int], gate: asyncio.Semaphore) -> None:
        async with gate:
            await queue.put(await call("make", 1))

    async def pipeline() -> int:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        gate, event = asyncio.Semaphore(1), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(producer(queue, gate))
            total = sum([await queue.get() for _ in range(3)])
            event.set()
        await event.wait()
        return total

    assert _played(pipeline, ended(0, 2), ended(1, 3), ended(2, 4)) == 9


def test_sleeps_and_timeouts_have_the_time_on_record() -> None:
    """Late activations shift nothing: each timer ends at its own instant, one after the other."""
    seen: list[float] = []

    async def pipeline() -> None:
        loop = asyncio.get_running_loop()
        seen.clear()
        for _ in range(3):
            await asyncio.sleep(0.1)
            seen.append(loop.time())
        await sleep(1)
        seen.append(loop.time())
        try:
            async with asyncio.timeout(2):
                await call("f")
        except TimeoutError:
            seen.append(loop.time())
        await asyncio.wait([asyncio.create_task(asyncio.sleep(math.inf))], timeout=1)
        seen.append(loop.time())
        await call("g")

    run = start(pipeline)
    suspended(run)
    suspended(run, after_s=900)
    live = list(seen)
    assert live == [0.1, 0.2, 0.3, 1.3, 3.3, 4.3]
    replayed(pipeline, run.state())
    assert seen == live
    run.close()


def test_timers_end_in_the_order_of_their_instants_and_then_of_their_making() -> None:
    """Two at one instant end as asyncio would have them."""
    ends: list[int] = []

    async def child(number: int, seconds: float) -> None:
        await (sleep if number % 2 else asyncio.sleep)(seconds)
        ends.append(number)

    async def pipeline() -> None:
        await asyncio.gather(*[child(n, s) for n, s in enumerate((3, 1, 2, 1, 1, 3))])
        await call("after")

    run = start(pipeline)
    suspended(run)
    suspended(run, after_s=5)
    assert ends == [1, 3, 4, 2, 0, 5]
    run.close()


def test_deadline_that_has_passed_needs_no_resume() -> None:
    """`timeout(0)`, `sleep(0)` and `call_later(0)` go on at once."""

    async def pipeline() -> str:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        loop.call_later(0, woken.set)
        await woken.wait()
        await sleep(0)
        try:
            async with asyncio.timeout(0):
                await call("never")
        except TimeoutError:
            return "timeout"
        return "none"

    run = start(pipeline)
    assert advance(run) == Returned("timeout", [])
    assert decode(run.state()).event_of == []


def test_random_numbers_are_the_same_in_every_replay_of_a_call() -> None:
    """The seed is the id of the call, and when it began: after a tail call it is another one."""

    async def pipeline() -> float:
        loop = running()
        assert loop is not None
        await call("f")
        return loop.random.random()

    assert _played(pipeline, ended(0, 1)) == random.Random(f"01f3 {BEGAN_US}").random()


def test_loop_says_that_it_replays_until_all_on_record_is_replayed() -> None:
    """The log of the body is silent for that long."""
    seen: list[bool] = []

    async def pipeline() -> None:
        for name in ("one", "two", "three"):
            loop = running()
            assert loop is not None
            seen.append(loop.is_replaying)
            await call(name)

    run = start(pipeline)
    suspended(run)
    suspended(run, ended(0, 1))
    assert seen == [False, False]
    seen.clear()
    again = start(pipeline, run.state())
    suspended(again, ended(1, 1))
    assert seen == [True, True, False]
    again.close()
    run.close()


def test_anyio_works_where_it_only_waits() -> None:
    """Task groups, timeouts and sleeps of anyio are made of those of asyncio."""

    anyio = pytest.importorskip("anyio")

    async def pipeline() -> object:
        found: list[int] = []

        async def child(number: int) -> None:
            found.append(await call("f", number))

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(child, number)
        with anyio.move_on_after(0.5) as scope:
            await call("slow")
        await anyio.sleep(0.1)
        return found, scope.cancelled_caught

    events = [ended(1, 5), ended(0, 6), ended(2, 7), ended(9, 0), ended(9, 0)]
    assert _played(pipeline, *events) == ([5, 6, 7], True)


def test_host_may_be_uvloop() -> None:
    """A durable loop asks nothing of the one that it puts aside."""

    async def pipeline() -> int:
        async with asyncio.timeout(60):
            return await call("f")

    async def host() -> object:
        run = start(pipeline)
        suspended(run)
        await asyncio.sleep(0)
        return advance(run, ended(0, 7))

    assert uvloop.run(host()) == Returned(7, [])
