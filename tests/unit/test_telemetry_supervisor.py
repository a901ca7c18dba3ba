"""Background tasks have one owner: none dies unnoticed, none is left running."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run


class Deaths:
    """What a supervisor was told, as (name of the task, text of the error)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def __call__(self, name: str, error: BaseException) -> None:
        self.told.append((name, str(error)))


async def fail(text: str) -> None:
    """Raise, not at once."""
    await asyncio.sleep(0)
    raise ValueError(text)


async def sleep_on(timeout_s: float = 3600) -> None:
    """Take a while."""
    await asyncio.sleep(timeout_s)


def test_death_of_a_task_is_told_once_when_it_raises() -> None:
    """With the name of the task; the others go on."""

    async def main(clock: SimulatedClock) -> None:
        deaths = Deaths()
        tasks = Supervisor(deaths)
        tasks.spawn("sleeping", sleep_on())
        tasks.spawn("looking", fail("no such thing"))
        await asyncio.sleep(1)
        assert deaths.told == [("looking", "no such thing")]
        assert tasks.names == ["sleeping"]
        await tasks.stop()

    run(main)


def test_task_is_forgotten_without_a_word_when_it_returns_or_is_cancelled() -> None:
    """Both are ends that somebody wanted."""

    async def main(clock: SimulatedClock) -> None:
        deaths = Deaths()
        tasks = Supervisor(deaths)
        await tasks.spawn("short", sleep_on(0))
        task = tasks.spawn("cancelled", sleep_on())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert tasks.names == []
        assert deaths.told == []

    run(main)


def test_stop_ends_every_task_and_what_those_start_meanwhile() -> None:
    """Nothing runs when it has returned; a second call has nothing to do."""

    async def main(clock: SimulatedClock) -> None:
        deaths = Deaths()
        tasks = Supervisor(deaths)

        async def starts_another() -> None:
            try:
                await sleep_on()
            finally:
                tasks.spawn("another", sleep_on())

        tasks.spawn("one", sleep_on())
        tasks.spawn("two", starts_another())
        await asyncio.sleep(0)
        began_us = clock.monotonic_us()
        await tasks.stop()
        await tasks.stop()
        assert tasks.names == []
        assert clock.monotonic_us() == began_us
        assert deaths.told == []

    run(main)


def test_nothing_starts_after_stop() -> None:
    """What comes too late is cancelled before its first step."""

    async def main(clock: SimulatedClock) -> None:
        deaths = Deaths()
        tasks = Supervisor(deaths)
        await tasks.stop()
        task = tasks.spawn("late", fail("it ran"))
        await asyncio.wait([task])
        assert task.cancelled()
        assert deaths.told == []

    run(main)


def test_stop_names_a_task_that_does_not_end() -> None:
    """A stop has a deadline; who misses it is told as dead."""

    async def main(clock: SimulatedClock) -> None:
        deaths = Deaths()
        tasks = Supervisor(deaths)
        is_free = asyncio.Event()

        async def stubborn() -> None:
            while not is_free.is_set():
                try:
                    await is_free.wait()
                except asyncio.CancelledError:
                    continue

        task = tasks.spawn("stubborn", stubborn())
        await asyncio.sleep(0)
        await tasks.stop(2)
        assert deaths.told == [("stubborn", "did not end within 2 s")]
        is_free.set()
        await task

    run(main)


def test_turns_go_on_after_a_failure_with_a_pause_that_doubles() -> None:
    """A fault that stays is neither silent nor a flood, and a turn that works ends it."""

    async def main(clock: SimulatedClock) -> None:
        deaths = Deaths()
        tasks = Supervisor(deaths)
        began_us = clock.monotonic_us()
        at_s: list[float] = []
        outcomes = iter(["", "a", "b", "c", "", ""])

        async def turn() -> None:
            at_s.append((clock.monotonic_us() - began_us) / 1_000_000)
            if failure := next(outcomes, ""):
                raise OSError(failure)

        tasks.forever("look", turn, every_s=10)
        await asyncio.sleep(95)
        await tasks.stop()
        assert at_s == pytest.approx([0, 10, 20, 40, 80, 90], abs=0.01)
        assert deaths.told == [("look", "a"), ("look", "b"), ("look", "c")]

    run(main)


def test_supervisor_shows_what_runs() -> None:
    """For whoever meets it in a debugger."""

    async def main(clock: SimulatedClock) -> None:
        tasks = Supervisor(Deaths())
        assert repr(tasks) == "<Supervisor idle>"
        tasks.spawn("b", sleep_on())
        tasks.spawn("a", sleep_on())
        assert repr(tasks) == "<Supervisor a, b>"
        await tasks.stop()

    run(main)
