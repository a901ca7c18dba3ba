"""What a durable body must not do: it is told so on its first run, and what to write instead."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from dispatcher.sdk.replay import evicting, scheduling
from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.model import Faulted
from dispatcher.testing.durable import (
    TOLD,
    Body,
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


def _said(body: Body) -> str:
    outcome = advance(start(body))
    assert isinstance(outcome, Faulted), outcome
    return outcome.message


def _io(line: str) -> Body:
    return body_of(f"""
    async def pipeline():
        return {line}
""")


STEP = "Make it a step, `await dispatch.step(fn, …)`, or move it to a function of its own."
THREAD = "`await dispatch.step(fn, …)` runs `fn` in a thread, and records its result."


@pytest.mark.parametrize(
    ("line", "what", "instead"),
    [
        ("await asyncio.open_connection('127.0.0.1', 1)", "opens a connection", STEP),
        (
            "await asyncio.get_running_loop().getaddrinfo('localhost', 1)",
            "looks up the address of a host",
            STEP,
        ),
        ("await asyncio.create_subprocess_exec('true')", "starts a process", STEP),
        ("await asyncio.start_server(print, '127.0.0.1', 0)", "opens a server", STEP),
        ("await asyncio.to_thread(print)", "runs something in a thread", THREAD),
        (
            "await asyncio.get_running_loop().run_in_executor(None, print)",
            "runs something in a thread",
            THREAD,
        ),
        ("asyncio.get_running_loop().add_reader(0, print)", "waits for a socket or pipe", STEP),
        ("asyncio.get_running_loop().run_forever()", "runs an event loop", STEP),
    ],
)
def test_io_ends_the_call_with_the_line_when_a_durable_body_does_it(
    line: str, what: str, instead: str
) -> None:
    """Each way to reach outside is named, with where it was and what to write instead."""
    who = "it" if "get_running_loop" in line else "asyncio"
    assert _said(_io(line)) == (
        f"pipeline (call 01f3) is durable, and does I/O by itself: {who} {what}, called at "
        "app.py:2 in pipeline. A durable function is replayed, and would do it again each time. "
        + instead
    )


def test_io_names_the_library_when_one_does_it() -> None:
    """What the user called, not what that called in turn."""

    async def pipeline() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get("http://127.0.0.1:1/")

    message = _said(pipeline)
    assert "does I/O by itself: aiohttp " in message
    assert "in pipeline. A durable" in message


def test_io_ends_the_call_when_the_body_swallows_the_error() -> None:
    """Whatever a body catches, it goes no further than to where it next waits."""
    went_on = []

    async def pipeline() -> int:
        try:
            await asyncio.to_thread(print)
        except BaseException:
            went_on.append("caught")
        await asyncio.sleep(0)
        went_on.append("went on")
        return await call("after")

    assert "runs something in a thread" in _said(pipeline)
    assert went_on == ["caught"]


def test_io_ends_the_call_when_the_body_swallows_it_for_ever() -> None:
    """A body that tries again and again is left waiting."""

    released: list[bool] = []

    async def pipeline() -> None:
        while not released:
            with contextlib.suppress(BaseException):
                await asyncio.to_thread(print)

    assert "runs something in a thread" in _said(pipeline)
    released.append(True)  # else it would go round for ever at the end of this process
    evicting.graveyard.pop()


def test_io_names_the_library_when_that_does_it_in_a_task_of_its_own() -> None:
    """The user's line is where the task that made it waits, and the library what it waits in."""

    anyio = pytest.importorskip("anyio")

    async def pipeline() -> None:
        await anyio.connect_tcp("127.0.0.1", 1)

    message = _said(pipeline)
    assert "does I/O by itself: anyio opens a connection, called at tests/unit/" in message
    assert "in pipeline. A durable" in message


@pytest.mark.parametrize("is_first", [True, False])
def test_io_ends_the_call_when_calls_are_under_way_beside_it(is_first: bool) -> None:
    """On the first run, in either order: never only on a replay."""

    async def pipeline() -> None:
        both = [call("beside"), asyncio.to_thread(print)]
        await asyncio.gather(*(reversed(both) if is_first else both))

    assert "runs something in a thread" in _said(pipeline)


def test_io_names_the_line_that_waits_when_a_task_without_lines_of_the_user_does_it() -> None:
    """A library that runs a task of its own is named by who waits for it."""
    body = body_of("""
    async def pipeline():
        task = asyncio.create_task(asyncio.to_thread(print))
        await asyncio.sleep(0)
        await task
""")
    assert "in a thread, called at app.py:3 in pipeline" in _said(body)


def test_io_says_why_the_function_was_taken_for_durable() -> None:
    """A function that only mentions another one is judged durable, and has to learn of it."""
    run = Run(_io("await asyncio.to_thread(print)"), TOLD, None, judged="It is durable because.")
    outcome = advance(run)
    assert isinstance(outcome, Faulted)
    assert outcome.message.endswith(f"{THREAD} It is durable because.")


def test_body_that_waits_for_nothing_durable_ends_when_nothing_else_is_under_way() -> None:
    """It would sleep till it expires: each task is named with its line."""
    body = body_of("""
    async def other():
        await asyncio.Event().wait()

    async def pipeline():
        async with asyncio.TaskGroup() as group:
            group.create_task(other())
""")
    assert _said(body) == (
        "pipeline (call 01f3) waits for something that nothing durable will bring: "
        "the body waits at app.py:5 in pipeline; task 1 waits at app.py:2 in other. "
        "A result from outside is awaited with dispatch.promise(…), what runs in a thread with "
        "`await dispatch.step(fn, …)`."
    )


def test_body_that_goes_round_without_waiting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """`while not done: await asyncio.sleep(0)` would never give the thread back."""
    monkeypatch.setattr(scheduling, "TURNS", 1000)
    body = body_of("""
    async def pipeline():
        beside = asyncio.create_task(call("beside"))
        while not beside.done():
            await asyncio.sleep(0)
""")
    assert _said(body) == (
        "pipeline (call 01f3) does not end, and waits for nothing: it has gone round 1,000 times "
        "(the body waits at app.py:4 in pipeline; task 1 waits at app.py:2 for beside). In a loop "
        "that waits for something, wait with `await dispatch.sleep(seconds)`."
    )


def test_body_may_go_round_for_long_when_it_makes_operations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large gather is no loop without end."""
    monkeypatch.setattr(scheduling, "TURNS", 100)

    async def pipeline() -> None:
        await asyncio.gather(*[call("work", n % 9) for n in range(500)])

    assert len(suspended(start(pipeline)).calls) == 500


def test_future_of_a_thread_ends_the_call_when_nothing_else_is_under_way() -> None:
    """`wrap_future` asks the loop for nothing, so there is nothing to refuse."""
    future: concurrent.futures.Future[int] = concurrent.futures.Future()

    async def pipeline() -> int:
        return await asyncio.wrap_future(future)

    assert "waits for something that nothing durable will bring" in _said(pipeline)


def test_thread_ends_the_call_when_it_wakes_a_body_that_waits_for_a_call() -> None:
    """It is refused where it wakes, and the call is told at its next activation."""
    future: concurrent.futures.Future[int] = concurrent.futures.Future()

    body = body_of("""
    async def waits(future):
        return await asyncio.wrap_future(future)

    async def pipeline():
        await asyncio.gather(call("beside"), waits(future))
""")
    body.__globals__.update({"future": future})
    run = start(body)
    suspended(run)
    thread = threading.Thread(target=future.set_result, args=(1,))
    thread.start()
    thread.join()
    outcome = advance(run, ended(0, 1))
    assert isinstance(outcome, Faulted)
    assert outcome.message == (
        "A future, a task or a lock of pipeline (call 01f3) was used from outside of it, while it "
        "was suspended or by a thread (the body waits at app.py:5 in pipeline; task 1 waits at "
        "app.py:5 for beside; task 2 waits at app.py:2 in waits). What wakes a durable function "
        "has to be on record: await a dispatch.promise(…) and resolve that, or use `dispatch.step`."
    )


async def test_object_of_another_loop_ends_the_call_with_the_line_when_it_is_used() -> None:
    """A lock or client that is shared with the application belongs to the application's loop."""
    names: dict[str, Any] = {"shared": asyncio.get_running_loop().create_future()}
    body = body_of("""
    async def pipeline():
        try:
            await shared
        except RuntimeError as error:
            raise ValueError("no page") from error
""")
    body.__globals__.update(names)
    outcome = advance(start(body))
    assert isinstance(outcome, Faulted)
    assert outcome.message.startswith(
        "pipeline (call 01f3) is durable, and uses something that belongs to another event loop, "
        "such as a client, a connection or a lock that is shared, called at app.py:3 in pipeline: "
    )
    assert outcome.message.endswith(
        ". Use it in a step, `await dispatch.step(fn, …)`, or in a function of its own; a lock has "
        "to be made in the function that uses it."
    )


async def test_client_that_is_shared_ends_the_call_when_it_was_made_on_another_loop() -> None:
    """aiohttp finds no current task on its own loop, and says something that helps nobody."""
    async with aiohttp.ClientSession() as session:

        async def pipeline() -> None:
            await session.get("http://127.0.0.1:1/")

        assert "belongs to another event loop" in _said(pipeline)
