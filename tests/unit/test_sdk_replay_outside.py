"""Objects of a suspended body that somebody else holds: they never wake it without a record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dispatcher.sdk.replay.loop import running
from dispatcher.sdk.replay.model import Faulted, Kind, Operation
from dispatcher.testing.durable import (
    advance,
    body_of,
    call,
    close_all,
    ended,
    start,
    suspended,
)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


KEPT: dict[str, Any] = {}


async def _keeps() -> int:
    loop = asyncio.get_running_loop()
    KEPT["loop"] = loop
    KEPT["future"] = loop.create_future()
    KEPT["lock"] = asyncio.Lock()
    KEPT["task"] = asyncio.current_task()
    beside = asyncio.create_task(call("beside"))
    await asyncio.wait([beside, KEPT["future"]], return_when=asyncio.FIRST_COMPLETED)
    return 1


async def _nothing() -> None:
    pass


def _make_task() -> None:
    coroutine = _nothing()
    try:
        KEPT["loop"].create_task(coroutine)
    finally:
        coroutine.close()


USES: dict[str, Callable[[], object]] = {
    "set_result": lambda: KEPT["future"].set_result(1),
    "cancel": lambda: KEPT["task"].cancel(),
    "call_soon": lambda: KEPT["loop"].call_soon(print),
    "call_later": lambda: KEPT["loop"].call_later(1, print),
    "call_soon_threadsafe": lambda: KEPT["loop"].call_soon_threadsafe(print),
    "create_task": _make_task,
    "getaddrinfo": lambda: KEPT["loop"].getaddrinfo("localhost", 1),
    "perform": lambda: KEPT["loop"].perform(Operation(Kind.CALL, "f", "app.py:1")),
}


@pytest.mark.parametrize("use", USES)
def test_use_from_outside_is_refused_and_ends_the_call_when_it_is_suspended(use: str) -> None:
    """Who does it gets an error; the call that it was done to has one at its next activation."""
    run = start(_keeps)
    suspended(run)
    with pytest.raises(RuntimeError, match="was used from outside of it, called at ") as refused:
        USES[use]()
    outcome = advance(run, ended(0, 1))
    assert outcome == Faulted(str(refused.value))
    assert "test_sdk_replay_outside.py:" in str(refused.value)
    assert str(refused.value).endswith(
        ", while it was suspended or by a thread. What wakes a durable function has to be on "
        "record: await a dispatch.promise(…) and resolve that, or use `dispatch.step`."
    )


def test_use_by_another_durable_body_is_refused_while_that_one_runs() -> None:
    """Two bodies in one thread have a loop each, and only one of them runs."""
    run = start(_keeps)
    suspended(run)

    async def other() -> None:
        KEPT["future"].set_result(1)

    with pytest.raises(RuntimeError, match="was used from outside"):
        raise advance(start(other)).error  # type: ignore[union-attr]  # it is Raised
    assert isinstance(advance(run, ended(0, 1)), Faulted)


def test_use_is_silent_when_the_body_is_forgotten() -> None:
    """An eviction may not break who holds a future of the body: it goes on elsewhere."""
    run = start(_keeps)
    suspended(run)
    run.close()
    KEPT["future"].set_result(1)
    KEPT["loop"].call_soon(print)


async def test_host_keeps_its_loop_and_task_when_a_body_runs_within() -> None:
    """A body is run from a task of the application, whose timeouts and groups go on."""
    inside = []

    async def pipeline() -> None:
        inside.append((asyncio.get_running_loop(), asyncio.current_task(), running()))
        await call("one")

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    async with asyncio.timeout(60):
        run = start(pipeline)
        suspended(run)
        assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
        await asyncio.sleep(0)
    assert running() is None
    assert inside[0][0] is inside[0][2] is not loop
    assert inside[0][1] is not task
    run.close()


async def test_host_keeps_its_loop_when_a_body_is_interrupted() -> None:
    """Ctrl-C in a body goes to who runs it, and leaves nothing behind."""

    async def pipeline() -> None:
        raise KeyboardInterrupt

    loop = asyncio.get_running_loop()
    run = start(pipeline)
    with pytest.raises(KeyboardInterrupt):
        advance(run)
    assert asyncio.get_running_loop() is loop
    with pytest.raises(RuntimeError, match="is over"):
        advance(run)


def test_lock_made_at_import_is_told_of_when_two_calls_wait_for_it() -> None:
    """It belongs to the loop of who first had to wait: the other one learns what to write."""
    names = {"lock": asyncio.Lock()}
    source = """
    async def pipeline():
        async with lock:
            await call("one")
"""
    first, waits, third = (body_of(source) for _ in range(3))
    for body in (first, waits, third):
        body.__globals__.update(names)
    holder = start(first)
    suspended(holder)
    suspended_run = start(body_of(BOTH))
    suspended_run.close()
    blocked = advance(start(waits))
    assert isinstance(blocked, Faulted)
    assert "waits for something that nothing durable will bring" in blocked.message
    other = advance(start(third))
    assert isinstance(other, Faulted)
    assert "belongs to another event loop" in other.message
    holder.close()


BOTH = """
    async def pipeline():
        await call("one")
"""
