"""Results of root calls that have ended move to the results' log, and the calls are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from dispatcher.core.clock import SteadyClock
from dispatcher.functions.ending.moving import Moving
from dispatcher.functions.events import Ended, Exited
from dispatcher.functions.ids import Keys
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.results.reading import Standing
from dispatcher.functions.store.store import Silent
from dispatcher.protocol.messages import CallResult
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.callstore import CallBench, created, new
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import Space
from dispatcher.testing.loop import run
from dispatcher.testing.results import ResultsBench

FAILURE = CallResult()
FAILURE.error.type = "ValueError"
ERROR = FAILURE.SerializeToString()


class MovingBench:
    """Calls in a transaction log, and a results' log. `letters` are the keys of those that were to
    be buried; `bury_now` says whether that is done at once."""

    moving: Moving
    keys: Keys

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.calls = CallBench(clock)
        self.results = ResultsBench(clock)
        self.letters: list[int] = []
        self.buried: list[Callable[[], None]] = []
        self.bury_now = True
        self.deaths: list[BaseException] = []

    async def start(self) -> MovingBench:
        await self.calls.start()
        self.keys = self.calls.keys
        await self.results.start()
        machine = self.calls.store.machine
        self.moving = Moving(
            self.calls.store,
            machine.calls,
            self.results.results,
            clock=SteadyClock(self.clock),
            supervisor=Supervisor(lambda name, error: self.deaths.append(error)),
            bury=self._bury,
        )

        class Listening(Silent):
            has_ended = staticmethod(self.moving.has_ended)

        machine.listener = Listening()
        self.moving.start()
        return self

    def _bury(self, call: Call, then: Callable[[], None]) -> None:
        self.letters.append(call.key)
        if self.bury_now:
            then()
        else:
            self.buried.append(then)

    async def crash(self) -> None:
        await self.results.crash()
        await self.calls.crash()

    async def create(self, count: int) -> list[int]:
        """Root calls; returns their keys."""
        keys = [self.keys.next() for _ in range(count)]
        await self.calls.store.stored(created(*map(new, keys)))
        return keys

    def end(self, key: int, result: bytes = b"out", how: How = How.OK) -> None:
        """A call ends by its exit."""
        is_error = how is not How.OK
        self.calls.store.submit(Exited(key, 0, how, result, is_error, self.clock.now_us()))

    @property
    def left(self) -> set[int]:
        """The keys in the table of calls."""
        return set(self.calls.store.machine.calls)


def simulate(test: Callable[[MovingBench], Coroutine[Any, Any, None]]) -> None:
    """Run a test with simulated time."""

    async def main(clock: SimulatedClock) -> None:
        bench = await MovingBench(clock).start()
        await test(bench)
        await bench.moving.stop()
        await bench.results.results.stop()
        await bench.calls.stop()
        assert not bench.deaths

    run(main)


def test_result_moves_and_its_call_is_forgotten() -> None:
    """With all that is known of it; a failed one is buried, with the type of its error."""

    async def main(bench: MovingBench) -> None:
        good, bad, late = await bench.create(3)
        bench.end(good)
        bench.end(bad, ERROR, How.FAILED)
        await asyncio.sleep(0.5)
        assert bench.left == {late}
        assert bench.letters == [bad]
        found = await bench.results.results.read(good)
        assert found is not None
        assert (found.result, found.how, found.status) == (b"out", How.OK, "ok")
        assert (found.function, found.endpoint, found.version) == ("f", "http://app", "v1")
        assert found.application == "app"
        failed = await bench.results.results.read(bad)
        assert failed is not None
        assert (failed.status, failed.is_error, failed.result) == ("ValueError", True, ERROR)
        bench.calls.store.submit(Ended(late, How.CANCELLED, ERROR, 0))
        await asyncio.sleep(0.5)
        assert bench.left == set()
        assert bench.letters == [bad], "what was cancelled is no dead letter"

    simulate(main)


def test_call_stays_until_its_dead_letter_is_durable() -> None:
    """A crash before that buries it again."""

    async def main(bench: MovingBench) -> None:
        bench.bury_now = False
        (bad,) = await bench.create(1)
        bench.end(bad, ERROR, How.FAILED)
        await asyncio.sleep(5)
        assert bench.left == {bad}
        assert bench.calls.store.machine.calls[bad].phase is Phase.ENDED
        await bench.crash()
        await bench.start()
        await asyncio.sleep(1)
        assert bench.letters == [bad, bad]
        bench.buried[-1]()
        await asyncio.sleep(1)
        assert bench.left == set()
        assert len(bench.results.results) == 1

    simulate(main)


def test_thousands_move_in_portions() -> None:
    """And their calls are forgotten in few events."""

    async def main(bench: MovingBench) -> None:
        keys = await bench.create(1000)
        for key in keys:
            bench.end(key, b"x" * 5000)
        await asyncio.sleep(10)
        assert bench.left == set()
        assert len(bench.results.results) == 1000
        assert bench.calls.log.reads < 60

    simulate(main)


def test_calls_wait_where_they_are_while_there_is_no_space_for_results() -> None:
    """No more than the bound is in memory, and all move once there is space; also after a crash."""

    async def main(bench: MovingBench) -> None:
        (first,) = await bench.create(1)
        bench.end(first)
        await asyncio.sleep(1)
        log = bench.results.log
        assert log is not None
        log.space = Space.NOTHING
        keys = await bench.create(50)
        for key in keys:
            bench.end(key, b"x" * 1_000_000)
        await asyncio.sleep(60)
        assert bench.left == set(keys)
        assert bench.results.results.waiting_bytes < 40_000_000
        assert bench.moving.waiting > 10
        await bench.crash()
        await bench.start()
        await asyncio.sleep(60)
        assert bench.left == set()
        assert len(bench.results.results) == 51
        for key in keys:
            assert bench.results.results.find(key) is Standing.HERE

    simulate(main)


def test_result_is_read_again_when_something_is_lacking() -> None:
    """Descriptors, say: nothing is lost."""

    async def main(bench: MovingBench) -> None:
        from dispatcher.errors import LogBusy

        (key,) = await bench.create(1)
        store = bench.calls.store
        read, tries = store.read, 0

        async def lacking(pick):  # type: ignore[no-untyped-def]  # as `Store.read`
            nonlocal tries
            tries += 1
            if tries < 3:
                raise LogBusy("no descriptors")
            return await read(pick)

        store.read = lacking  # type: ignore[method-assign]  # a disk that lacks something
        store.at_hand = lambda spans: None  # type: ignore[method-assign]  # a disk that lacks something
        bench.end(key)
        await asyncio.sleep(5)
        assert bench.left == set()
        assert tries == 3

    simulate(main)
