"""Plain functions, and those that are durable although their code does not show it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

import dispatcher.sdk as dispatch
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.exceptions import TemporaryError
from dispatcher.sdk.functions import context
from dispatcher.sdk.running.requests import read_run
from dispatcher.testing.runnables import (
    Asking,
    FakeRunnable,
    calls,
    failed,
    returned,
    runner,
    sleeps,
)


def asking(body: Callable[..., object], **more: int | bool | None) -> Asking:
    """Of a function that was judged plain."""
    timeout_ms = more.pop("timeout_ms", None)
    function = FakeRunnable(body, **more)  # type: ignore[arg-type]  # by their names
    return Asking(runner(function), function.spec.name, timeout_ms=timeout_ms)


async def test_a_function_runs_on_the_loop_of_the_application() -> None:
    """With its arguments, and what it returns is the result."""

    async def add(a: int, b: int = 2) -> object:
        await asyncio.sleep(0)
        here = context.inside.get()
        assert here is not None
        return [a + b, here.told.id]

    assert returned(await asking(add).first(1)) == [3, "01f3"]
    assert context.inside.get() is None


async def test_a_function_that_is_not_async_runs_in_a_thread() -> None:
    """Which it may block, and is told which call it belongs to."""

    def blocks(a: int) -> object:
        here = context.inside.get()
        assert here is not None
        return [a, threading.current_thread() is threading.main_thread(), here.told.id]

    assert returned(await asking(blocks).first(1)) == [1, False, "01f3"]


async def test_another_call_takes_the_place_of_a_plain_function_too() -> None:
    """On the loop and in a thread."""

    @dispatch.function(name="other")
    async def other(x: int) -> int:
        return x

    async def on_the_loop() -> None:
        await asyncio.sleep(0)
        other.reset(1)

    def in_a_thread() -> None:
        other.reset(1)

    for body in (on_the_loop, in_a_thread):
        response = await asking(body).first()
        assert response.exit.tail_call.function == "other"


async def test_an_exception_has_its_status() -> None:
    """By which the server tries again, not before it was asked to."""

    class Busy(Exception):
        status = Status.THROTTLED
        retry_after = 1.5

    async def busy() -> None:
        raise Busy("later")

    ask = asking(busy)
    assert failed(await ask.first()) == (Status.THROTTLED, "Busy", "later")
    run = read_run(ask.request.SerializeToString(), features=frozenset(), timeout_ms=None)
    assert (await ask.runner.answer(run)).retry_after_s == 2


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "level", "text", "has_traceback"),
    [
        (ValueError("no"), "ERROR", "fails failed (call 01f3): ValueError: no", True),
        (
            TemporaryError("later"),
            "WARNING",
            "fails failed (call 01f3), and is tried again: TemporaryError: later",
            False,
        ),
        (
            _Mute(),
            "ERROR",
            "fails failed (call 01f3): _Mute: <_Mute has no text: RuntimeError>",
            True,
        ),
    ],
)
async def test_an_exception_is_in_the_log_of_the_application(
    error: Exception, level: str, text: str, has_traceback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback, unless it was raised on purpose."""

    async def fails() -> None:
        raise error

    await asking(fails).first()
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (level, text)
    assert bool(record.exc_info) == has_traceback


async def test_a_result_that_can_not_be_sent_is_final(caplog: pytest.LogCaptureFixture) -> None:
    """It would be the same another time. Who wrote the function has it in the log."""

    async def odd() -> object:
        return object()

    status, kind, message = failed(await asking(odd).first())
    assert (status, kind) == (Status.PERMANENT_ERROR, "EncodeError")
    assert "the result of odd" in message
    assert [record.getMessage() for record in caplog.records] == [
        f"odd failed (call 01f3): EncodeError: {message}"
    ]


@pytest.mark.parametrize("timeout_us", [None, 1000])
async def test_a_function_that_takes_too_long_is_cancelled(timeout_us: int | None) -> None:
    """By its own limit, or by when the server gives up: it has to hear of it before."""
    cancelled = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    ask = asking(hangs, timeout_us=timeout_us, timeout_ms=10)
    message = "hangs did not end within 0.001 s"
    if timeout_us is None:
        message = (
            "hangs did not end within 0.009 s. It may have more: @dispatch.function(timeout=…)"
        )
    assert failed(await ask.first()) == (Status.TIMEOUT, "TimeoutError", message)
    assert cancelled == [True]


async def test_a_function_in_a_thread_that_takes_too_long_is_left_alone() -> None:
    """It can't be ended; what comes of it is dropped."""
    go, ended = threading.Event(), threading.Event()

    def hangs() -> None:
        go.wait(10)
        ended.set()

    assert failed(await asking(hangs, timeout_ms=10).first())[0] is Status.TIMEOUT
    go.set()
    assert await asyncio.to_thread(ended.wait, 10)


async def test_a_timeout_of_its_own_is_an_exception_as_others() -> None:
    """It is not taken for the limit of the run."""

    async def impatient() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(1)

    status, kind, _ = failed(await asking(impatient, timeout_ms=60_000).first())
    assert (status, kind) == (Status.PERMANENT_ERROR, "TimeoutError")


async def test_a_function_that_cancels_itself_fails() -> None:
    """Who runs it was not cancelled."""

    async def odd() -> None:
        raise asyncio.CancelledError("odd")

    assert failed(await asking(odd).first())[1:] == ("CancelledError", "odd")


async def test_a_request_that_is_cancelled_cancels_the_function() -> None:
    """And is not answered."""
    begun = asyncio.Event()

    async def hangs() -> None:
        begun.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(asking(hangs).first())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_function_that_exits_the_process_fails() -> None:
    """`sys.exit()` in a function is not a reason to end the application."""

    async def leaves() -> None:
        raise SystemExit(1)

    assert failed(await asking(leaves).first())[1:] == ("SystemExit", "1")


async def test_a_function_that_returns_a_coroutine_is_told_to_be_async() -> None:
    """It was meant to be, and ran in a thread."""

    async def inner() -> None:
        await asyncio.sleep(0)

    def greet() -> object:
        return inner()

    assert failed(await asking(greet).first())[1:] == (
        "TypeError",
        "greet is a function that is not async, and returned a coroutine: make it "
        "`async def greet`",
    )


async def test_a_function_that_shows_no_durable_operation_is_run_anew_as_durable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the same activation; said once, and remembered."""
    begun = []

    async def hidden() -> object:
        begun.append(1)
        return await calls("one")

    ask = asking(hidden)
    with caplog.at_level(logging.WARNING, "dispatcher.sdk"):
        assert (await ask.first()).poll.calls[0].function == "one"
        ask.id = "01f4"
        await ask.first()
    assert returned(await ask.resume({0: 5})) == 5
    assert len(begun) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "hidden waits for one at app.py:1, so it is durable, which its code did not show; it was "
        "run anew. Write @dispatch.function(durable=True)"
    ]


async def test_a_timeout_around_a_hidden_operation_is_a_durable_one() -> None:
    """The body is never moved: its timeout would cancel the request of the server."""

    async def hidden() -> object:
        try:
            async with asyncio.timeout(0.05):
                return await calls("one")
        except TimeoutError:
            return "late"

    now = [1_700_000_000_000_000]
    run = runner(FakeRunnable(hidden), now_us=lambda: now[0])
    ask = Asking(run, "hidden")
    response = await ask.first()
    assert response.poll.max_wait.nanos == 50_000_000
    now[0] += 50_000
    assert returned(await ask.resume()) == "late"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.filterwarnings("error")
async def test_a_body_that_is_left_runs_its_finally_without_effect() -> None:
    """Also one that catches everything, and waits for more on its way out."""
    left = []

    async def stubborn() -> object:
        try:
            return await calls("one")
        except BaseException as error:
            left.append(type(error).__name__)
            await calls("other")
            raise
        finally:
            left.append("finally")
            await asyncio.sleep(0)

    ask = asking(stubborn)
    response = await ask.first()
    assert [call.function for call in response.poll.calls] == ["one"]
    assert left == ["Evicted", "finally"]


async def test_an_operation_after_other_waiting_is_an_error_that_names_both() -> None:
    """What was done before would be done again."""

    async def hidden() -> object:
        await asyncio.sleep(0)
        return await calls("one")

    line = hidden.__code__.co_firstlineno + 1
    assert failed(await asking(hidden).first())[1:] == (
        "MisplacedOperation",
        "hidden was taken for a plain function, and waits for the call of one at app.py:1, after "
        f"it has waited for something else at test_sdk_running_plain.py:{line}: write "
        "@dispatch.function(durable=True), and do in `await dispatch.step(…)` what is not to be "
        "done again",
    )


async def test_an_operation_in_a_task_is_an_error() -> None:
    """Others may have done something meanwhile."""

    async def awaited() -> object:
        return await sleeps(1)

    async def hidden() -> object:
        return await asyncio.gather(awaited(), awaited())

    assert failed(await asking(hidden).first())[1:] == (
        "MisplacedOperation",
        "hidden was taken for a plain function, and waits for the operation sleep at app.py:2, "
        "from a task that it started: write @dispatch.function(durable=True), and do in `await "
        "dispatch.step(…)` what is not to be done again",
    )


async def test_a_function_that_says_it_is_plain_is_not_run_anew() -> None:
    """Its author said so, and is wrong."""

    async def plain() -> object:
        return await calls("one")

    assert failed(await asking(plain, durable=False).first())[2] == (
        "plain waits for the call of one at app.py:1, and says durable=False: leave that out, then "
        "it is a durable function, and may wait for this"
    )


async def test_many_functions_block_at_once() -> None:
    """More than asyncio's own threads would let."""
    together = threading.Barrier(40, timeout=10)

    def blocks() -> int:
        return together.wait()

    run = runner(FakeRunnable(blocks))
    asked = [Asking(run, "blocks", id=str(number)).first() for number in range(40)]
    found = [returned(response) for response in await asyncio.gather(*asked)]
    assert sorted(found) == list(range(40))  # type: ignore[type-var]  # numbers
