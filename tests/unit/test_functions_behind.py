"""While so many dead letters wait for space that messages are not sent either, no run is started,
and no letter of a call is made: what waits in memory has a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from dispatcher.core.clock import SteadyClock
from dispatcher.functions import errors
from dispatcher.functions.ending.burying import Burying
from dispatcher.functions.ending.moving import Moving
from dispatcher.functions.events import Exited
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.ports import Store
from dispatcher.functions.spans import Span, span
from dispatcher.functions.store.store import Silent
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.records.dead_calls import CallLetter, encode_call
from dispatcher.queue.records.kinds import MAX_DETAIL_BYTES
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing import loop
from dispatcher.testing.application import FakeApplication, Running, exits
from dispatcher.testing.callstore import CallBench, created, new
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.deadcalls import call_id
from dispatcher.testing.results import ResultsBench


def test_no_run_is_started_while_letters_wait_for_space() -> None:
    """It goes on by itself; what was under way ends meanwhile."""
    is_behind = True

    async def main(clock: SimulatedClock) -> None:
        nonlocal is_behind
        application = FakeApplication(lambda request: exits())
        running = Running(application, clock, is_behind=lambda: is_behind)
        calls = await running.dispatch(*["f"] * 5)
        await asyncio.sleep(600)
        assert application.requests == []
        is_behind = False
        await running.until(lambda: all(call.phase is Phase.ENDED for call in calls))
        is_behind = True
        (late,) = await running.dispatch("f")
        await asyncio.sleep(600)
        assert len(application.requests) == 5
        is_behind = False
        await running.until(lambda: late.phase is Phase.ENDED)
        await running.stop()

    loop.run(main)


def test_no_run_is_fetched_while_letters_wait_for_space() -> None:
    """Who waits for one gets it when that is over."""
    is_behind = True

    async def main(clock: SimulatedClock) -> None:
        nonlocal is_behind
        application = FakeApplication(lambda request: exits())
        running = Running(application, clock, is_behind=lambda: is_behind)
        await running.dispatch("f", endpoint="bridge://s")
        assert await running.bridge.fetch("app", "s", wait_s=20) is None
        waiting = asyncio.create_task(running.bridge.fetch("app", "s", wait_s=20))
        await asyncio.sleep(5)
        assert not waiting.done()
        is_behind = False
        await asyncio.sleep(2)
        assert waiting.done()
        assert waiting.result() is not None
        await running.stop()

    loop.run(main)


class Letters:
    """Dead letters, as far as calls are buried in them. `then`, once set, is called a turn of the
    loop after the next one was buried."""

    def __init__(self) -> None:
        self.is_behind = True
        self.buried: list[CallLetter] = []
        self.then: Callable[[], None] | None = None

    def bury_call(self, letter: CallLetter, then: Callable[[], None], read: object) -> None:
        self.buried.append(letter)
        asyncio.get_running_loop().call_soon(then)
        if self.then is not None:
            asyncio.get_running_loop().call_soon(self.then)
            self.then = None


class Spans:
    """A store whose bytes are there at once."""

    async def read(self, pick: Callable[[], list[Span]]) -> list[bytes]:
        return [errors.failed("ValueError", "no") for _ in pick()]


def test_call_that_dies_when_all_others_were_just_buried_is_buried() -> None:
    """Whoever buries them ends at that moment."""

    async def main(clock: SimulatedClock) -> None:
        letters = Letters()
        letters.is_behind = False
        supervisor = Supervisor(lambda name, error: None)
        burying = Burying(
            cast(Store, Spans()),
            cast(DeadLetters, letters),
            supervisor,
            SteadyClock(clock),
            id_of=lambda key: call_id(key).decode(),
            runs=lambda key: [],
        )
        told: list[str] = []
        letters.then = lambda: burying.bury(dead(2), lambda: told.append("second"))
        burying.bury(dead(1), lambda: told.append("first"))
        await asyncio.sleep(1)
        assert told == ["first", "second"]
        await supervisor.stop()

    loop.run(main)


def dead(key: int) -> Call:
    """A call that has failed."""
    call = Call(
        key,
        parent=0,
        root=key,
        correlation=0,
        parent_generation=0,
        endpoint="http://app",
        function="f",
        version="",
        application="app",
        created_us=1,
        expires_us=2,
        not_before_us=0,
        depth=0,
        timeout_ms=0,
        input=span(1, 0, 1),
    )
    call.how, call.result = How.FAILED, span(1, 1, 1)
    return call


def test_calls_that_died_wait_in_the_table_while_letters_wait_for_space() -> None:
    """However many: no task and no text of theirs is in memory, and of a text no more than is kept
    ever is. All are buried when there is space."""
    count = 200

    async def main(clock: SimulatedClock) -> None:
        calls = CallBench(clock)
        results = ResultsBench(clock)
        letters = Letters()
        deaths: list[BaseException] = []
        await calls.start()
        await results.start()
        supervisor = Supervisor(lambda name, error: deaths.append(error))
        burying = Burying(
            calls.store,
            cast(DeadLetters, letters),
            supervisor,
            SteadyClock(clock),
            id_of=lambda key: call_id(key & 0xFFFF).decode(),
            runs=lambda key: [],
        )
        machine = calls.store.machine
        moving = Moving(
            calls.store,
            machine.calls,
            results.results,
            clock=SteadyClock(clock),
            supervisor=supervisor,
            bury=burying.bury,
        )

        class Listening(Silent):
            def has_ended(self, call: Call) -> None:
                moving.has_ended(call)

        machine.listener = Listening()
        moving.start()
        numbers = calls.keys
        keys = [numbers.next() for _ in range(count)]
        await calls.store.stored(created(*map(new, keys)))
        tasks = len(asyncio.all_tasks())
        error = errors.failed("ValueError", "x" * 20_000)
        for key in keys:
            event = Exited(key, 0, How.FAILED, error, is_error=True, at_us=clock.now_us())
            await calls.store.stored(event)
        await asyncio.sleep(60)
        assert letters.buried == []
        assert len(machine.calls) == count
        assert len(asyncio.all_tasks()) <= tasks + 2
        letters.is_behind = False
        await asyncio.sleep(10)
        assert len(letters.buried) == count
        assert not machine.calls
        assert {len(letter.detail) for letter in letters.buried} == {MAX_DETAIL_BYTES}
        assert {letter.error for letter in letters.buried} == {"error:ValueError"}
        assert all(len(encode_call(letter)) < 1024 for letter in letters.buried)
        assert not deaths
        await moving.stop()
        await supervisor.stop()

    loop.run(main)
