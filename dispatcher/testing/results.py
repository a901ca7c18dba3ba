"""A results' log that can be crashed and started again, between neighbours that note everything.

`ResultsBench` holds what outlives a process (clock, log) and what each start makes anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from dispatcher.core.clock import SteadyClock
from dispatcher.errors import Refusal
from dispatcher.functions.model import How
from dispatcher.functions.results.records import StoredResult, key_of
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.functions.results.store import Results
from dispatcher.queue.commit.stalls import Pace
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.loop import run

FIRST = 1 << 63
"""The numbers of calls have their top bit set."""


class ResultsBench:
    """`told` is what became of each result, by its number: None, or the slug of a refusal.
    `stored` are numbers in the order in which they became durable."""

    results: Results

    def __init__(
        self,
        clock: SimulatedClock,
        *,
        log: FaultyLog | None = None,
        policy: ResultPolicy | None = None,
        make_log: Callable[[], FaultyLog] | None = None,
    ) -> None:
        self.clock = clock
        self.policy = policy or ResultPolicy()
        self.log = log
        self.told: dict[int, str | None] = {}
        self.stored: list[int] = []
        self.forgotten: list[int] = []
        self.failures: list[Exception] = []
        self.deaths: list[BaseException] = []
        self.space: list[bool] = []
        self.paces: list[Pace] = []
        self._make_log = make_log
        self._starts = 0

    def _make(self) -> FaultyLog:
        if self._make_log is not None:
            self.log = self._make_log()
        elif self.log is None:
            self.log = FaultyLog()
        return self.log

    async def start(self) -> ResultsBench:
        """Open what is there, and begin to store."""
        self._starts += 1
        self.results = Results(
            self._make,
            self.policy,
            exists=self.log is not None,
            clock=SteadyClock(self.clock),
            supervisor=Supervisor(lambda name, error: self.deaths.append(error)),
            failed=self.failures.append,
            space_changed=self.space.append,
            pace_changed=lambda before, pace, waited_s: self.paces.append(pace),
            died=lambda name, error: self.deaths.append(error),
        )
        await self.results.open("bench", self._starts)
        self.results.start()
        return self

    async def crash(self, *, keep_batch: bool = False) -> None:
        """End as a process does that lost its power."""
        if self.log is not None:
            self.log = self.log.crash(keep_batch=keep_batch)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

    def key(self, number: int, incarnation: int | None = None) -> int:
        """The key of the call with this number; of this process unless told otherwise."""
        return key_of(self._starts if incarnation is None else incarnation, FIRST + number)

    def result(self, number: int, body: bytes | None = None, **fields: Any) -> StoredResult:
        """The result of a call that ends now."""
        now = self.clock.now_us()
        given: dict[str, Any] = {
            "key": self.key(number),
            "function": "greet",
            "endpoint": "http://app.example:8000",
            "version": "v1",
            "application": "default",
            "created_us": now - 1_000_000,
            "expires_us": now + 3_600_000_000,
            "ended_us": now,
            "how": How.OK,
            "status": "ok",
            "is_error": False,
            "attempts": 1,
            "steps": 2,
            "restarts": 0,
            "result": b"result %d" % number if body is None else body,
        }
        return StoredResult(**(given | fields))

    def store(self, number: int, body: bytes | None = None, **fields: Any) -> StoredResult:
        """Hand a result in; `told` has what became of it."""
        result = self.result(number, body, **fields)

        def then(refusal: Refusal | None) -> None:
            assert number not in self.told, "told twice"
            self.told[number] = None if refusal is None else refusal.slug
            if refusal is None:
                self.stored.append(number)

        self.told.pop(number, None)
        self.results.store(result, then)
        return result

    def forget(self, number: int, incarnation: int | None = None) -> None:
        """Forget a result; `forgotten` has the number once that is durable."""
        key = self.key(number, incarnation)
        self.results.forget(key, lambda refusal: self.forgotten.append(number))


def simulate(
    test: Callable[[ResultsBench], Coroutine[Any, Any, None]], **options: Any
) -> ResultsBench:
    """Run a test with a started bench and simulated time. Nothing may have failed in it unless the
    test has cleared `failures` and `deaths`."""

    async def main(clock: SimulatedClock) -> ResultsBench:
        bench = await ResultsBench(clock, **options).start()
        await test(bench)
        await bench.results.stop()
        assert not bench.failures
        assert not bench.deaths
        return bench

    return run(main)
