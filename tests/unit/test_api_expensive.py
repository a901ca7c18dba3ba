"""Calls that take long: few at once, so many a second, and one answer for who asks in a moment."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from dispatcher.api.errors import ApiError
from dispatcher.api.expensive import (
    AT_ONCE,
    BURST,
    FRESH_SECONDS,
    PATIENCE_SECONDS,
    PER_SECOND,
    Expensive,
    Pieces,
)
from dispatcher.api.turns import Turns
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run


class Answers:
    """Answers that take a while, counted. `work` is the share of it that the thread has to work, in
    two halves."""

    def __init__(self, seconds: float, *, work: float = 1.0) -> None:
        self.made = 0
        self.at_once = 0
        self.most_at_once = 0
        self.worked_s = 0.0
        self._seconds = seconds
        self._work_s = seconds * work

    async def make(self) -> Pieces:
        """One more."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.worked_s += self._work_s / 2
        await asyncio.sleep(self._seconds)
        self.worked_s += self._work_s / 2
        self.at_once -= 1
        self.made += 1
        return [str(self.made).encode()]


def expensive(answers: Answers) -> Expensive:
    """By the clock of the running loop."""
    return Expensive(asyncio.get_running_loop().time, worked=lambda: answers.worked_s)


def test_turns_come_at_their_rate_after_a_burst() -> None:
    """What was not used counts up to the burst; who would wait too long takes no turn."""
    turns = Turns(10, 5)
    waits = [turns.wait(100.0, 0.25) for _ in range(10)]
    assert waits[:5] == [0.0] * 5
    assert waits[5:7] == [pytest.approx(0.1), pytest.approx(0.2)]
    assert waits[7:] == [None] * 3
    assert turns.wait(101.0, 0.25) == 0.0


def test_turns_let_a_second_through_at_once_and_then_the_rate() -> None:
    """A short burst is served whole."""
    turns = Turns(500, 500)
    assert sum(turns.wait(0.0, 0) is not None for _ in range(2_000)) == 500
    late = [turns.wait(step / 1_000, 0) for step in range(1, 2_001) for _ in range(5)]
    assert 995 <= sum(one is not None for one in late) <= 1_000


def test_turn_that_is_given_back_is_had_by_who_comes_next() -> None:
    """As if who gave it back had not come."""
    turns = Turns(10, 1)
    assert [turns.wait(0.0), turns.wait(0.0)] == [0.0, pytest.approx(0.1)]
    turns.give_back()
    assert turns.wait(0.0) == pytest.approx(0.1)


def test_an_answer_that_takes_long_is_made_once_for_all_who_ask_meanwhile() -> None:
    """And given again to who asks a moment later, for a second at most."""

    async def test(_: SimulatedClock) -> None:
        answers = Answers(0.5)
        calls = expensive(answers)
        asked = [calls.shared("stats", answers.make) for _ in range(8)]
        assert await asyncio.gather(*asked) == [[b"1"]] * 8
        await asyncio.sleep(FRESH_SECONDS - 0.01)
        assert await calls.shared("stats", answers.make) == [b"1"]
        assert await calls.shared("groups", answers.make) == [b"2"]
        assert await calls.shared("stats", answers.make) == [b"3"]

    run(test)


def test_an_answer_that_takes_no_time_is_new_each_time() -> None:
    """A small server shows how it stands now."""

    async def test(_: SimulatedClock) -> None:
        answers = Answers(0)
        calls = expensive(answers)
        assert [await calls.shared("stats", answers.make) for _ in range(3)] == [
            [b"1"],
            [b"2"],
            [b"3"],
        ]

    run(test)


def test_an_answer_that_waits_long_and_is_little_work_is_new_each_time() -> None:
    """A machine that is busy with something else makes no server large."""

    async def test(_: SimulatedClock) -> None:
        answers = Answers(1.0, work=0.04)
        calls = expensive(answers)
        asked = [await calls.shared("metrics", answers.make) for _ in range(3)]
        assert asked == [[b"1"], [b"2"], [b"3"]]

    run(test)


def test_the_work_of_others_meanwhile_does_not_count() -> None:
    """The clock of a thread goes on for everything that runs in it."""

    async def test(_: SimulatedClock) -> None:
        answers = Answers(1.0, work=0)
        calls = expensive(answers)
        asked = asyncio.create_task(calls.shared("metrics", answers.make))
        await asyncio.sleep(0.5)
        answers.worked_s += 10
        assert await asked == [b"1"]
        assert await calls.shared("metrics", answers.make) == [b"2"]

    run(test)


def test_who_asks_after_a_change_is_given_no_answer_begun_before_it() -> None:
    """Kept or being made: an operator sees what the change did."""

    async def test(_: SimulatedClock) -> None:
        answers = Answers(0.1)
        calls = expensive(answers)
        await calls.shared("groups", answers.make)
        calls.forget()
        before = asyncio.create_task(calls.shared("groups", answers.make))
        await asyncio.sleep(0.05)
        calls.forget()
        after = asyncio.create_task(calls.shared("groups", answers.make))
        assert (await before, await after) == ([b"2"], [b"3"])

    run(test)


def test_few_are_under_way_at_once_and_others_wait_or_are_refused() -> None:
    """With the time to ask again; nobody waits for ever."""

    async def test(_: SimulatedClock) -> None:
        answers = Answers(1.5)
        calls = expensive(answers)
        asked = [calls.alone(answers.make) for _ in range(AT_ONCE * 3)]
        came = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in came if isinstance(one, ApiError)]
        assert answers.most_at_once == AT_ONCE
        assert (answers.made, len(refused)) == (AT_ONCE * 2, AT_ONCE)
        assert (refused[0].status, refused[0].slug) == (503, "api_busy")
        assert refused[0].headers == {"Retry-After": "1"}

    run(test)


def test_who_asks_too_often_waits_and_does_not_take_the_loop() -> None:
    """Also who is refused: it would ask again at once."""

    async def test(_: SimulatedClock) -> None:
        answers = Answers(0)
        calls = expensive(answers)
        answered = 0

        async def ask_on() -> None:
            nonlocal answered
            while True:
                with contextlib.suppress(ApiError):
                    await calls.shared("metrics", answers.make)
                answered += 1

        clients = [asyncio.create_task(ask_on()) for _ in range(200)]
        await asyncio.sleep(20)
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        most = BURST + 20 * PER_SECOND + 20 / PATIENCE_SECONDS * 200
        assert 20 * PER_SECOND < answered < most + 200

    run(test)


def test_an_answer_goes_on_when_the_first_who_asked_hangs_up() -> None:
    """Others wait for it."""

    async def test(_: SimulatedClock) -> None:
        answers = Answers(1)
        calls = expensive(answers)
        first = asyncio.create_task(calls.shared("stats", answers.make))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(calls.shared("stats", answers.make))
        await asyncio.sleep(0.1)
        first.cancel()
        assert await second == [b"1"]
        await calls.stop()

    run(test)
