"""The pace of operators: how long a slice is, and how long the rest after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from pydantic import BaseModel, TypeAdapter

from dispatcher.api.portions import AT_ONCE, filled
from dispatcher.queue.admin.meter import Metered, taken_s
from dispatcher.queue.admin.pace import (
    QUIET_AFTER_US,
    QUIET_REST_SECONDS,
    REST_SECONDS,
    SLICE_US,
    Pace,
)
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run


class Hands:
    """A clock that is moved by hand, and a count of messages."""

    def __init__(self) -> None:
        self.now_us = 0
        self.messages = 0

    def pace(self) -> Pace:
        return Pace(traffic=lambda: self.messages, now_us=lambda: self.now_us)


async def _rested_s(pace: Pace) -> float:
    began = asyncio.get_running_loop().time()
    await pace.rest()
    return asyncio.get_running_loop().time() - began


def test_a_slice_is_over_after_its_time_and_begins_anew_after_a_rest() -> None:
    """What was waited for in between counts for nothing, where that is said."""

    async def test(_: SimulatedClock) -> None:
        hands = Hands()
        pace = hands.pace()
        hands.now_us = SLICE_US - 1
        assert not pace.is_over
        hands.now_us = SLICE_US
        assert pace.is_over
        pace.begin()
        assert not pace.is_over
        hands.now_us *= 2
        assert pace.is_over
        await pace.rest()
        assert not pace.is_over

    run(test)


def test_rests_are_short_while_no_messages_come() -> None:
    """They are whole again with the next one, and until some time after the last."""

    async def test(_: SimulatedClock) -> None:
        hands = Hands()
        pace = hands.pace()
        hands.now_us = QUIET_AFTER_US
        assert await _rested_s(pace) == pytest.approx(QUIET_REST_SECONDS)
        hands.messages += 1
        assert await _rested_s(pace) == pytest.approx(REST_SECONDS)
        hands.now_us += QUIET_AFTER_US - 1
        assert await _rested_s(pace) == pytest.approx(REST_SECONDS)
        hands.now_us += 1
        assert await _rested_s(pace) == pytest.approx(QUIET_REST_SECONDS)

    run(test)


def test_all_who_ask_share_the_slices() -> None:
    """Eight at once have as many together as one alone."""

    async def test(_: SimulatedClock) -> None:
        pace = Pace()
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(pace.rest() for _ in range(8)))
        took = asyncio.get_running_loop().time() - began
        assert took == pytest.approx(8 * REST_SECONDS)

    run(test)


class Row(BaseModel):
    """A line of an answer."""

    number: int


class Rows(BaseModel):
    """An answer."""

    items: list[Row]


@pytest.mark.parametrize("value_us", [1, SLICE_US // 10, SLICE_US])
def test_long_answer_rests_whenever_a_slice_is_over(value_us: int) -> None:
    """However long one value takes: nothing is written for longer than a slice and `AT_ONCE`
    values."""

    async def test(_: SimulatedClock) -> None:
        hands = Hands()
        longest_us = began_us = 0

        class Watched(Pace):
            async def rest(self, *, part: float = 1.0) -> None:
                nonlocal longest_us, began_us
                longest_us = max(longest_us, hands.now_us - began_us)
                await super().rest(part=part)
                began_us = hands.now_us

        rows = _slow(hands, value_us)
        values = [{"number": number} for number in range(500)]
        pace = Watched(now_us=lambda: hands.now_us)
        pieces = await filled(Rows(items=[]), '"items":[', values, rows, pace=pace)
        whole = Rows.model_validate_json(b"".join(pieces))
        assert [row.number for row in whole.items] == list(range(500))
        assert longest_us <= SLICE_US + AT_ONCE * value_us
        assert hands.now_us == 500 * value_us

    run(test)


def _slow(hands: Hands, value_us: int) -> TypeAdapter[list[Row]]:
    """Rows of which each takes so long."""
    adapter = TypeAdapter(list[Row])
    validate: Callable[..., list[Row]] = adapter.validate_python

    def slowly(values: list[object]) -> list[Row]:
        hands.now_us += value_us * len(values)
        return validate(values)

    adapter.validate_python = slowly  # type: ignore[assignment, method-assign]  # the clock's hand
    return adapter


@pytest.mark.parametrize(
    ("worked_s", "rests"), [(0.0, 1), (SLICE_US / 1e6, 1), (0.001, 5), (9, 25)]
)
def test_rest_is_longer_by_as_much_as_the_slice_was(worked_s: float, rests: int) -> None:
    """A twentieth of the loop's time is all that operators take, however long a slice was; but one
    of seconds, which nobody meant, keeps no one waiting for minutes."""

    async def test(_: SimulatedClock) -> None:
        spent_s = 0.0

        async def slices() -> list[float]:
            nonlocal spent_s
            pace = Pace()
            rested = []
            for _ in range(3):
                spent_s += worked_s / 2
                await asyncio.sleep(1)  # for the disk, while others work
                spent_s += worked_s / 2
                rested.append(await _rested_s(pace))
            return rested

        async def others() -> None:
            nonlocal spent_s
            while True:
                await asyncio.sleep(0.1)
                spent_s += 0.03

        busy = asyncio.create_task(others())
        rested = await Metered(slices, lambda: spent_s)
        busy.cancel()
        assert rested == [pytest.approx(rests * REST_SECONDS)] * 3

    run(test)


def test_work_is_metered_for_who_asks_inside_and_for_nobody_else() -> None:
    """Two answers that are made at once do not count each other's work, nor what was before."""

    async def test(_: SimulatedClock) -> None:
        spent_s = 0.0

        async def answer(work_s: float) -> list[float]:
            nonlocal spent_s
            found = []
            for _ in range(3):
                spent_s += work_s
                await asyncio.sleep(0)
                found.append(taken_s())
            return found

        async def made(work_s: float) -> list[float]:
            return await Metered(lambda: answer(work_s), lambda: spent_s)

        assert list(await asyncio.gather(made(1), made(2))) == [[1.0] * 3, [2.0] * 3]
        assert taken_s() == 0

    run(test)
