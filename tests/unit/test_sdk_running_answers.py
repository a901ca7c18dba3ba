"""What calls were answered last."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from dispatcher.sdk.running.answers import Answers
from dispatcher.sdk.running.responses import Reply

GOOD = Reply(b"good", may_repeat=True)
BAD = Reply(b"bad", may_repeat=False)


class Made:
    """Makes answers, and counts; held until `go`."""

    def __init__(self, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.count = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> Reply:
        self.count += 1
        await self.go.wait()
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


async def test_a_request_that_comes_again_has_the_same_answer() -> None:
    """Its answer was lost: nothing is run for it."""
    answers, made = Answers(10), Made(GOOD)
    assert await answers.answer("c", {b"1"}, made) is GOOD
    assert await answers.answer("c", {b"1"}, made) is GOOD
    assert made.count == 1


async def test_a_call_that_is_asked_something_else_forgets_its_answer() -> None:
    """Only the last one may be lost; a call that begins anew asks what it was asked at first."""
    other = Reply(b"other", may_repeat=True)
    answers, made = Answers(10), Made(GOOD, other, BAD)
    await answers.answer("c", {b"1"}, made)
    assert await answers.answer("c", {b"2"}, made) is other
    assert await answers.answer("c", {b"1"}, made) is BAD


async def test_a_run_that_is_to_be_tried_again_is() -> None:
    """The server asks the same then, and means it."""
    answers, made = Answers(10), Made(BAD, GOOD)
    assert await answers.answer("c", {b"1"}, made) is BAD
    assert await answers.answer("c", {b"1"}, made) is GOOD


async def test_a_request_waits_for_the_same_one_under_way() -> None:
    """Its connection broke, and the function still runs."""
    answers, made = Answers(10), Made(BAD)
    made.go.clear()
    first = asyncio.create_task(answers.answer("c", {b"1"}, made))
    second = asyncio.create_task(answers.answer("c", {b"1"}, made))
    await asyncio.sleep(0)
    made.go.set()
    assert await first is await second is BAD
    assert made.count == 1


async def test_a_request_runs_after_another_one_of_its_call() -> None:
    """A call never runs twice at once."""
    answers, made = Answers(10), Made(BAD, GOOD)
    made.go.clear()
    first = asyncio.create_task(answers.answer("c", {b"1"}, made))
    second = asyncio.create_task(answers.answer("c", {b"2"}, made))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert made.count == 1
    made.go.set()
    assert (await first, await second) == (BAD, GOOD)


@pytest.mark.parametrize("how", ["cancelled", "raised"])
async def test_who_waits_runs_it_where_the_first_was_given_up(how: str) -> None:
    """And one who waits and is cancelled takes nothing from the others."""
    answers, made = Answers(10), Made(OSError("no"), GOOD)
    made.go.clear()
    first = asyncio.create_task(answers.answer("c", {b"1"}, made))
    gone = asyncio.create_task(answers.answer("c", {b"1"}, made))
    second = asyncio.create_task(answers.answer("c", {b"1"}, made))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    if how == "cancelled":
        first.cancel()
        made.replies.pop(0)
    made.go.set()
    with pytest.raises(asyncio.CancelledError if how == "cancelled" else OSError):
        await first
    assert await second is GOOD


async def test_the_oldest_answers_are_forgotten() -> None:
    """By number, and by bytes."""
    answers, made = Answers(2, most_bytes=1000), Made(GOOD, GOOD, GOOD, BAD, BAD)
    for call in ("a", "b", "c"):
        await answers.answer(call, {b"1"}, made)
    assert await answers.answer("b", {b"1"}, made) is GOOD
    assert await answers.answer("a", {b"1"}, made) is BAD
    large = Made(Reply(bytes(900), may_repeat=True), BAD)
    await answers.answer("d", {b"1"}, large)
    assert await answers.answer("d", {b"1"}, large) is BAD


async def test_requests_of_two_loops_share_what_is_under_way() -> None:
    """As in a server with threads, each with a loop."""
    answers, made = Answers(10), Made(GOOD)
    made.go.clear()
    first = asyncio.create_task(answers.answer("c", {b"1"}, made))
    await asyncio.sleep(0)
    got: list[Reply] = []
    make: Callable[[], Awaitable[Reply]] = made

    def other() -> None:
        got.append(asyncio.run(answers.answer("c", {b"1"}, make)))

    thread = threading.Thread(target=other)
    thread.start()
    made.go.set()
    await first
    await asyncio.to_thread(thread.join, 10)
    assert got == [GOOD]
    assert made.count == 1
