"""The course of long work: its rate, which changes at once, and its end before its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dispatcher.core.rate import Rate
from dispatcher.queue.admin.course import Course
from dispatcher.queue.admin.pace import Pace
from dispatcher.testing.loop import run

A_SECOND = 1_000_000
SOON_S = 0.05


def test_portion_is_a_tenth_of_a_second_of_the_rate_at_most() -> None:
    """And one at least: nothing is done in bursts."""
    assert Course().portion(128) == 128
    assert Course(Rate(50, A_SECOND)).portion(128) == 5
    assert Course(Rate(100_000, A_SECOND)).portion(128) == 128
    assert Course(Rate(10, 60 * A_SECOND)).portion(128) == 1


async def _work(course: Course, count: int, at: list[float]) -> None:
    loop = asyncio.get_running_loop()
    async for some in course.portions(list(range(count)), most=10, pace=Pace(0.0)):
        at += [loop.time()] * len(some)
        course.did(len(some))


def _spent(act: Callable[[Course, list[float]], Awaitable[None]], rate: Rate | None) -> list[float]:
    """When each was done, in seconds since the start, while `act` does something to the course."""

    async def test() -> list[float]:
        course, at = Course(rate), list[float]()
        began = asyncio.get_running_loop().time()
        work = asyncio.create_task(_work(course, 10, at))
        await act(course, at)
        await asyncio.wait_for(work, 10_000)
        return [one - began for one in at]

    return run(lambda _: test())


async def _nothing(_: Course, __: list[float]) -> None:
    pass


def test_items_are_spread_evenly_at_the_rate() -> None:
    """The first at once."""
    assert _spent(_nothing, Rate(2, A_SECOND)) == pytest.approx(
        [0.5 * number for number in range(10)], abs=SOON_S
    )


@pytest.mark.parametrize(
    ("rate", "step_s"), [(Rate(10, A_SECOND), 0.1), (None, 0.0), (Rate(1, 4 * A_SECOND), 4.0)]
)
def test_another_rate_holds_at_once(rate: Rate | None, step_s: float) -> None:
    """Also while the next is waited for; what half of its wait was done is done."""

    async def change(course: Course, _: list[float]) -> None:
        await asyncio.sleep(1.0)  # the second comes at 2 s
        course.change_rate(rate)

    at = _spent(change, Rate(1, 2 * A_SECOND))
    second = 1.0 + 0.5 * step_s
    assert at == pytest.approx([0.0, *(second + step_s * n for n in range(9))], abs=SOON_S)


def test_cancelled_work_ends_at_once_with_what_it_did() -> None:
    """A wait for the next does not hold it up, and nothing more is done."""

    async def test() -> None:
        course, at = Course(Rate(1, 3600 * A_SECOND)), list[float]()
        work = asyncio.create_task(_work(course, 10, at))
        await asyncio.sleep(1.0)
        course.cancel()
        await asyncio.wait_for(work, 1.0)
        assert (course.done, course.total, course.was_cut) == (1, 10, True)

    run(lambda _: test())


def test_work_that_was_over_when_it_was_cancelled_is_whole() -> None:
    """What was done is told as it is."""

    async def test() -> None:
        course = Course()
        await _work(course, 10, [])
        course.cancel()
        assert (course.done, course.was_cut) == (10, False)

    run(lambda _: test())
