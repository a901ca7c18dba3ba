"""Steps of durable functions: in which order they run, and when they are stored."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable

import pytest

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.functions import context
from dispatcher.sdk.replay.loop import running
from dispatcher.sdk.replay.model import INTENT, Kind, Operation, Value
from dispatcher.sdk.running.intents import NotClaimed
from dispatcher.testing.runnables import (
    NOW_US,
    Asking,
    FakeRunnable,
    calls,
    does,
    failed,
    returned,
    runner,
    sleeps,
)


class Done:
    """Notes what was done; each step returns how often it was done so far."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, name: str, *, error: str = "") -> Callable[[], object]:
        """A step of this name, which is async."""

        async def do() -> object:
            await asyncio.sleep(0)
            self.steps.append(name)
            if error:
                raise RuntimeError(error)
            return self.steps.count(name)

        do.__name__ = name
        return do


@pytest.fixture
def done() -> Done:
    return Done()


def asking(
    body: Callable[..., object], *, warm: int = 100, timeout_ms: int | None = None
) -> Asking:
    """Of a durable function."""
    function = FakeRunnable(body, durable=True)
    return Asking(runner(function, warm=warm), function.spec.name, timeout_ms=timeout_ms)


def is_stored_and_resumed(response: object) -> bool:
    """Whether an answer only stores what is known, to be resumed at once."""
    poll = response.poll  # type: ignore[attr-defined]  # a RunResponse
    return bool(poll.HasField("max_wait")) and not poll.max_wait.ByteSize()


async def test_a_function_of_one_step_is_answered_at_once(done: Done) -> None:
    """Nothing has to be stored before it, and the answer stores what came of it."""

    async def one() -> object:
        return await does(done.step("a"))

    assert returned(await asking(one).first()) == 1


@pytest.mark.parametrize("warm", [0, 100])
async def test_a_step_is_stored_before_the_next_begins(done: Done, warm: int) -> None:
    """Who crashes in the second does not do the first again."""

    async def two() -> object:
        return [await does(done.step("a")), await does(done.step("b"))]

    ask = asking(two, warm=warm)
    response = await ask.first()
    assert is_stored_and_resumed(response)
    assert not response.poll.calls
    assert done.steps == ["a"]
    assert returned(await ask.resume()) == [1, 1]
    assert done.steps == ["a", "b"]


async def test_a_step_is_done_again_after_a_crash_before_it_was_stored(done: Done) -> None:
    """At least once: its answer never came."""

    async def two() -> object:
        return [await does(done.step("a")), await does(done.step("b"))]

    ask = asking(two)
    await ask.first()
    ask.runner.close()
    await ask.first()
    ask.runner.close()
    assert done.steps == ["a", "a"]
    assert returned(await ask.resume()) == [2, 1]


async def test_calls_are_made_before_a_step_begins(done: Done) -> None:
    """So that both go on at once, however long the step takes."""

    async def both() -> object:
        return await asyncio.gather(awaited(calls("one")), awaited(does(done.step("a"))))

    ask = asking(both)
    response = await ask.first()
    assert [call.function for call in response.poll.calls] == ["one"]
    assert is_stored_and_resumed(response)
    assert done.steps == []
    waits = await ask.resume()
    assert done.steps == ["a"]
    assert not waits.poll.HasField("max_wait")
    assert returned(await ask.resume({0: 7})) == [7, 1]


async def test_steps_that_wait_together_run_together(done: Done) -> None:
    """They begin in the order in which the body came by them."""
    begun: list[str] = []
    all_begun = asyncio.Event()

    def step(name: str) -> Callable[[], object]:
        async def do() -> object:
            begun.append(name)
            if len(begun) == 3:
                all_begun.set()
            await all_begun.wait()
            return name

        return do

    async def three() -> object:
        return await asyncio.gather(*(awaited(does(step(name))) for name in "abc"))

    assert returned(await asking(three).first()) == ["a", "b", "c"]
    assert begun == ["a", "b", "c"]


async def test_a_step_waits_for_those_that_run(done: Done) -> None:
    """What a branch does after its step is stored first, with all that ended meanwhile."""
    go = asyncio.Event()

    async def slow() -> object:
        await go.wait()
        done.steps.append("slow")
        return 0

    async def branch() -> object:
        await does(done.step("a"))
        go.set()
        return await does(done.step("b"))

    async def both() -> object:
        return await asyncio.gather(branch(), awaited(does(slow)))

    ask = asking(both)
    assert is_stored_and_resumed(await ask.first())
    assert done.steps == ["a", "slow"]
    assert returned(await ask.resume()) == [1, 0]


@pytest.mark.parametrize("warm", [0, 100])
async def test_a_step_is_stored_before_an_error_is_answered(done: Done, warm: int) -> None:
    """The error comes with the next resume, and nothing is done for it."""

    async def fails() -> object:
        await does(done.step("a"))
        raise RuntimeError("no")

    ask = asking(fails, warm=warm)
    assert is_stored_and_resumed(await ask.first())
    assert failed(await ask.resume()) == (Status.PERMANENT_ERROR, "RuntimeError", "no")
    assert done.steps == ["a"]


@pytest.mark.parametrize("warm", [0, 100])
async def test_calls_that_nobody_waits_for_are_made_before_the_end(done: Done, warm: int) -> None:
    """A task that was started and left alone makes its call all the same."""
    tasks, go = [], asyncio.Event()

    async def branch() -> None:
        await does(done.step("a"))
        go.set()
        await calls("left alone")

    async def slow() -> object:
        await go.wait()
        return 2

    async def leaves() -> object:
        tasks.append(asyncio.create_task(branch()))
        return await does(slow)

    ask = asking(leaves, warm=warm)
    response = await ask.first()
    assert is_stored_and_resumed(response)
    assert [call.function for call in response.poll.calls] == ["left alone"]
    assert returned(await ask.resume()) == 2


async def test_a_fault_is_answered_at_once(done: Done) -> None:
    """There is no record of how a body came to do what it must not."""

    async def opens() -> None:
        await does(done.step("a"))
        await asyncio.open_connection("127.0.0.1", 1)

    assert failed(await asking(opens).first())[1] == "NotDurable"


async def test_a_step_that_fails_raises_in_the_body(done: Done) -> None:
    """Which may do something else; the failure is on record as a result is."""

    async def careful() -> object:
        try:
            await does(done.step("a", error="no"))
        except RuntimeError as error:
            return [str(error), await does(done.step("b"))]
        return None

    ask = asking(careful, warm=0)
    assert is_stored_and_resumed(await ask.first())
    assert returned(await ask.resume()) == ["RuntimeError: no", 1]
    assert done.steps == ["a", "b"]


async def test_a_step_that_is_not_async_runs_in_a_thread() -> None:
    """With its own context, in which it is told which call it belongs to."""

    def do() -> object:
        here = context.inside.get()
        assert here is not None
        return [threading.current_thread() is threading.main_thread(), here.told.id]

    async def one() -> object:
        return await does(do)

    assert returned(await asking(one).first()) == [False, "01f3"]


async def test_a_step_that_takes_longer_than_it_may_fails() -> None:
    """It is cancelled, and the body is told."""

    async def hangs() -> object:
        await asyncio.Event().wait()
        return None

    async def one() -> object:
        try:
            return await does(hangs, timeout_us=1000)
        except RuntimeError as error:
            return str(error)

    found = returned(await asking(one).first())
    assert found == "TimeoutError: step hangs did not end within 0.001 s"


async def test_a_timeout_of_the_body_gives_up_the_step(done: Done) -> None:
    """As it would give up anything else: the step is cancelled."""
    cancelled = []

    async def hangs() -> object:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return None

    async def limited() -> object:
        try:
            async with asyncio.timeout(0.001):
                return await does(hangs)
        except TimeoutError:
            return await does(done.step("b"))

    function = FakeRunnable(limited, durable=True)
    ask = Asking(runner(function, now_us=now_us()), "limited")
    assert returned(await ask.first()) == 1
    await asyncio.sleep(0)
    assert cancelled == [True]


def now_us() -> Callable[[], int]:
    """A clock that goes on by a second each time it is asked."""
    times = iter(range(NOW_US, NOW_US + 10**9, 10**6))
    return lambda: next(times)


async def test_a_run_that_may_not_last_so_long_is_tried_again(done: Done) -> None:
    """A step that hangs: the server hears of it before it gives up, and which step it was."""

    async def hangs() -> object:
        await asyncio.Event().wait()
        return None

    async def one() -> object:
        return await does(hangs)

    status, kind, message = failed(await asking(one, timeout_ms=20).first())
    assert (status, kind) == (Status.TIMEOUT, "TimeoutError")
    assert message == (
        "the run had to end before these steps did: hangs. The function may have more time: "
        "@dispatch.function(timeout=…)"
    )


async def test_what_ended_is_stored_when_a_run_may_not_last_longer(done: Done) -> None:
    """The other step begins again with the next resume."""
    go = asyncio.Event()

    async def slow() -> object:
        done.steps.append("slow")
        await go.wait()
        return 5

    async def both() -> object:
        return await asyncio.gather(awaited(does(done.step("a"))), awaited(does(slow)))

    ask = asking(both, timeout_ms=20)
    assert is_stored_and_resumed(await ask.first())
    go.set()
    assert returned(await ask.resume()) == [1, 5]
    assert done.steps == ["slow", "a", "slow"]


async def test_a_durable_operation_in_a_step_is_an_error_that_says_so() -> None:
    """A step is one entry in the record."""

    async def wrong() -> object:
        return await calls("one")

    async def one() -> object:
        return await does(wrong)

    ask = asking(one)
    assert is_stored_and_resumed(await ask.first())
    assert failed(await ask.resume())[2] == (
        "MisplacedOperation: step wrong waits for one at app.py:1: a step is recorded as a whole. "
        "Wait for it in the durable function itself, before or after the step"
    )


def once(done: Done, name: str = "a") -> Callable[[], object]:
    """A body with a step that is to run once at most, as the functions of the SDK make one."""

    async def once() -> object:
        loop = running()
        assert loop is not None
        intent = await loop.perform(Operation(Kind.STEP, name, "app.py:4", carrier=INTENT))
        assert isinstance(intent, Value)
        try:
            return await does(done.step(name), intent=intent)
        except RuntimeError as error:
            return str(error)

    return once


async def test_a_step_that_is_to_run_once_at_most_is_announced_before(done: Done) -> None:
    """The intent is stored, and then it runs."""
    ask = asking(once(done))
    assert is_stored_and_resumed(await ask.first())
    assert done.steps == []
    assert returned(await ask.resume()) == 1


@pytest.mark.parametrize("who", ["another process", "the same one again"])
async def test_a_step_that_may_have_begun_does_not_run_again(done: Done, who: str) -> None:
    """Its process may have crashed in it, or its answer may be lost."""
    ask = asking(once(done))
    await ask.first()
    if who == "another process":
        state, nonce = ask.state, ask.nonce
        ask = asking(once(done))
        ask.state, ask.nonce = state, nonce
    else:
        assert returned(await ask.resume()) == 1
        ask.runner.close()
    assert returned(await ask.resume()) == (
        "Interrupted: step a, at app.py:3, may have begun before, and is to run once at most: "
        "find out whether it has, and go on accordingly"
    )
    assert done.steps.count("a") == (who != "another process")


async def test_a_step_that_is_to_run_once_and_is_cut_does_not_begin_again(done: Done) -> None:
    """The function is told at once, and that is stored before it does more."""

    async def hangs() -> object:
        done.steps.append("hangs")
        await asyncio.Event().wait()
        return None

    async def cut() -> object:
        loop = running()
        assert loop is not None
        intent = await loop.perform(Operation(Kind.STEP, "hangs", "app.py:4", carrier=INTENT))
        assert isinstance(intent, Value)
        try:
            return await does(hangs, intent=intent)
        except RuntimeError as error:
            return [str(error)[:11], await does(done.step("b"))]

    ask = asking(cut, timeout_ms=50)
    await ask.first()
    assert is_stored_and_resumed(await ask.resume())
    assert returned(await ask.resume()) == ["Interrupted", 1]
    assert done.steps == ["hangs", "b"]


class Claims:
    """A server that lets each word be claimed once."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.is_away = False
        self.is_refused = False

    async def __call__(self, word: str) -> bool | None:
        if self.is_away:
            raise NotClaimed("away")
        if self.is_refused:
            return None
        is_free = word not in self.taken
        self.taken.add(word)
        return is_free


INTERRUPTED = "Interrupted: step a, at app.py:3, may have begun before"


async def test_a_step_that_is_to_run_once_runs_in_any_process(done: Done) -> None:
    """Several listen at one address; which of them goes on is chance. A lost answer begins it no
    second time, wherever the call goes on."""
    claims = Claims()
    function = FakeRunnable(once(done), durable=True)
    one, other = (Asking(runner(function, claim=claims), "once") for _ in range(2))
    await one.first()
    other.state, other.nonce = one.state, one.nonce
    assert returned(await other.resume()) == 1
    assert str(returned(await one.resume())).startswith(INTERRUPTED)
    assert done.steps == ["a"]


async def test_a_step_that_is_to_run_once_waits_for_the_server(done: Done) -> None:
    """Nobody knows whether another process has begun it."""
    claims = Claims()
    ask = Asking(runner(FakeRunnable(once(done), durable=True), claim=claims), "once")
    await ask.first()
    claims.is_away = True
    assert failed(await ask.resume()) == (Status.TEMPORARY_ERROR, "NotClaimed", "away")
    claims.is_away = False
    assert returned(await ask.resume()) == 1


async def test_steps_that_wait_for_the_server_together_are_no_news(
    done: Done, caplog: pytest.LogCaptureFixture
) -> None:
    """One answer says it for all of them, and asyncio complains of none."""
    claims = Claims()

    async def both() -> object:
        return await asyncio.gather(awaited(once(done)()), awaited(once(done)()))

    ask = Asking(runner(FakeRunnable(both, durable=True), claim=claims), "both")
    await ask.first()
    claims.is_away = True
    assert failed(await ask.resume())[1] == "NotClaimed"
    await asyncio.sleep(0)
    gc.collect()
    assert caplog.records == []


async def test_a_step_that_is_to_run_once_runs_where_it_was_announced(done: Done) -> None:
    """With a server that claims nothing, as without one."""
    claims = Claims()
    claims.is_refused = True
    function = FakeRunnable(once(done), durable=True)
    one, other = (Asking(runner(function, claim=claims), "once") for _ in range(2))
    await one.first()
    other.state, other.nonce = one.state, one.nonce
    assert str(returned(await other.resume())).startswith(INTERRUPTED)
    assert returned(await one.resume()) == 1


async def test_a_step_that_is_to_run_once_does_not_begin_late(done: Done) -> None:
    """The server has forgotten who claimed it."""
    now = NOW_US
    function = FakeRunnable(once(done), durable=True)
    ask = Asking(runner(function, claim=Claims(), now_us=lambda: now), "once")
    await ask.first()
    now += 3_600_000_001
    assert str(returned(await ask.resume())).startswith(INTERRUPTED)


async def test_a_step_that_fails_is_in_the_log(
    done: Done, caplog: pytest.LogCaptureFixture
) -> None:
    """What the function makes of it is not known yet: a warning."""

    async def careful() -> object:
        try:
            return await does(done.step("a", error="no"))
        except RuntimeError:
            return 0

    await asking(careful).first()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "step a of careful failed (call 01f3): RuntimeError: no"


async def test_a_request_that_is_cancelled_gives_up_its_steps(done: Done) -> None:
    """Who asked is gone; the request will come again, and is run from where the state is."""
    begun = asyncio.Event()

    async def slow() -> object:
        begun.set()
        await asyncio.sleep(3600)
        done.steps.append("slow")
        return None

    async def one() -> object:
        return await does(slow)

    ask = asking(one)
    task = asyncio.create_task(ask.first())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []
    assert ask.runner.suspended == 0


async def test_a_timer_of_the_body_is_not_late_because_of_a_step(done: Done) -> None:
    """Another branch goes on; what it wants is answered when the step has ended."""
    go = asyncio.Event()

    async def slow() -> object:
        await go.wait()
        done.steps.append("slow")
        return None

    async def sleeper() -> None:
        await sleeps(0.5)
        done.steps.append("slept")
        go.set()

    async def both() -> object:
        await asyncio.gather(sleeper(), awaited(does(slow)))
        return None

    function = FakeRunnable(both, durable=True)
    assert returned(await Asking(runner(function, now_us=now_us()), "both").first()) is None
    assert done.steps == ["slept", "slow"]


async def awaited(what: object) -> object:
    return await what  # type: ignore[misc]  # anything that can be awaited
