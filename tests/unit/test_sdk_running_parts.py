"""Durable functions that make more calls at once than a server takes in one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dispatcher.protocol.messages import Poll, RunResponse
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.replay.model import Failure, Kind, Numbered, Operation, Value
from dispatcher.sdk.running import parts
from dispatcher.sdk.running.parts import part_of
from dispatcher.sdk.running.responses import MOST_BYTES, Waiting, response_of
from dispatcher.testing.runnables import (
    ALL,
    Asking,
    FakeRunnable,
    calls,
    does,
    failed,
    returned,
    runner,
)

MEGABYTE = "x" * 1_000_000


async def many(count: int) -> object:
    return sum(await asyncio.gather(*(calls("one", number) for number in range(count))))  # type: ignore[arg-type]


async def large(count: int) -> object:
    return len(await asyncio.gather(*(calls("one", MEGABYTE) for _ in range(count))))


def asking(*, warm: int, features: frozenset[str] = ALL) -> Asking:
    functions = [FakeRunnable(body, durable=True) for body in (many, large)]
    return Asking(runner(*functions, warm=warm), "many", features)


def ids(poll: Poll) -> list[int]:
    return [call.correlation_id for call in poll.calls]


def at_once(poll: Poll) -> bool:
    return poll.HasField("max_wait") and poll.max_wait.seconds == poll.max_wait.nanos == 0


async def told(asked: Asking, *args: object) -> list[RunResponse]:
    """The answers until it waits for results."""
    answers = [await asked.first(*args)]
    while at_once(answers[-1].poll):
        answers.append(await asked.resume())
    return answers


async def test_a_function_makes_its_calls_in_parts_when_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each call once, in order, also where it is replayed for each part; then it waits for all, and
    has their results."""
    assert parts.MOST_CALLS == 10_000
    monkeypatch.setattr(parts, "MOST_CALLS", 1_000)
    asked = asking(warm=0)
    answers = await told(asked, 2_500)
    assert [len(answer.poll.calls) for answer in answers] == [1_000, 1_000, 500]
    assert [id for answer in answers for id in ids(answer.poll)] == list(range(2_500))
    assert not answers[-1].poll.HasField("max_wait")
    assert returned(await asked.resume(dict.fromkeys(range(2_500), 1))) == 2_500


@pytest.mark.parametrize("features", [ALL, ALL - {"append"}])
async def test_a_function_makes_its_calls_in_parts_when_they_are_too_large(
    features: frozenset[str],
) -> None:
    """No answer is larger than a server reads; with the state appended to, or whole each time."""
    asked = asking(warm=100, features=features)
    asked.function = "large"
    answers = await told(asked, 40)
    assert [len(answer.poll.calls) for answer in answers] == [15, 15, 10]
    assert all(answer.ByteSize() <= MOST_BYTES for answer in answers)
    assert returned(await asked.resume(dict.fromkeys(range(40)))) == 40


@pytest.mark.parametrize("warm", [0, 100])
async def test_results_of_a_part_come_before_the_next(
    warm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the body does with them joins those that are held, behind them."""
    monkeypatch.setattr(parts, "MOST_CALLS", 2)

    async def chain(number: int) -> object:
        return [await calls("one", number), await calls("two", number)]

    async def chains() -> object:
        return await asyncio.gather(*map(chain, range(3)))

    asked = Asking(runner(FakeRunnable(chains, durable=True), warm=warm), "chains")
    assert ids((await asked.first()).poll) == [0, 1]
    second = (await asked.resume({0: "a", 1: "b"})).poll
    assert (ids(second), at_once(second)) == ([2, 3], True)
    third = (await asked.resume({3: "c"})).poll
    assert (ids(third), at_once(third)) == ([4], False)
    assert ids((await asked.resume({2: "d", 4: "e"})).poll) == [5]
    assert returned(await asked.resume({5: "f"})) == [["a", "c"], ["b", "e"], ["d", "f"]]


@pytest.mark.parametrize("warm", [0, 100])
async def test_a_part_that_is_refused_fails_its_own_calls(
    warm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it were made, and those after it are made yet."""
    monkeypatch.setattr(parts, "MOST_CALLS", 2)

    async def caught(number: int) -> object:
        try:
            return await calls("one", number)
        except RuntimeError as error:
            return str(error)

    async def all_of_them() -> object:
        return await asyncio.gather(*map(caught, range(5)))

    asked = Asking(runner(FakeRunnable(all_of_them, durable=True), warm=warm), "all_of_them")
    await asked.first()
    assert ids((await asked.resume()).poll) == [2, 3]
    last = await asked.resume(error=Failure("Refused", "too many"))
    assert ids(last.poll) == [4]
    refused = "Refused: too many"
    assert returned(await asked.resume({0: 1, 1: 2, 4: 3})) == [1, 2, refused, refused, 3]


@pytest.mark.parametrize("warm", [0, 100])
async def test_calls_that_are_held_and_given_up_are_never_made(
    warm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hears of those that were made: only they are cancelled."""
    monkeypatch.setattr(parts, "MOST_CALLS", 2)

    async def first() -> object:
        tasks = [asyncio.ensure_future(calls("one", number)) for number in range(5)]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        return [await calls("last"), *(task.result() for task in done)]

    asked = Asking(runner(FakeRunnable(first, durable=True), warm=warm), "first")
    await asked.first()
    came = await asked.resume({1: "won"})
    assert (ids(came.poll), list(came.poll.cancel)) == ([5], [0])
    assert returned(await asked.resume({5: "end"})) == ["end", "won"]


@pytest.mark.parametrize("warm", [0, 100])
async def test_a_function_ends_when_all_parts_of_its_calls_are_made(
    warm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of those for whose results it does not wait."""
    monkeypatch.setattr(parts, "MOST_CALLS", 2)

    async def leaves() -> object:
        tasks = [asyncio.ensure_future(calls("one", number)) for number in range(5)]
        await asyncio.sleep(0)
        return len(tasks)

    asked = Asking(runner(FakeRunnable(leaves, durable=True), warm=warm), "leaves")
    made = ids((await asked.first()).poll)
    while (came := await asked.resume()).HasField("poll"):
        assert at_once(came.poll)
        made += ids(came.poll)
    assert (made, returned(came)) == ([0, 1, 2, 3, 4], 5)


@pytest.mark.parametrize("warm", [0, 100])
async def test_steps_begin_when_all_parts_are_made(
    warm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided before them is stored first."""
    monkeypatch.setattr(parts, "MOST_CALLS", 2)
    done: list[int] = []

    async def both() -> object:
        step = does(lambda: done.append(1))
        return len(await asyncio.gather(*(calls("one", n) for n in range(4)), _awaited(step)))

    asked = Asking(runner(FakeRunnable(both, durable=True), warm=warm), "both")
    assert ids((await asked.first()).poll) == [0, 1]
    assert (ids((await asked.resume()).poll), done) == ([2, 3], [])
    await asked.resume()
    assert done == [1]
    assert returned(await asked.resume(dict.fromkeys(range(4)))) == 5


async def _awaited(what: object) -> object:
    return await what  # type: ignore[misc]  # it can be awaited


async def test_a_part_that_is_lost_is_made_again_from_the_state_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process, asked for the same, answers with the same calls, and the rest follows."""
    monkeypatch.setattr(parts, "MOST_CALLS", 2)
    lost, other = asking(warm=100), asking(warm=100)
    await lost.first(5)
    other.state, other.nonce = lost.state, lost.nonce
    assert ids((await lost.resume()).poll) == [2, 3]
    assert ids((await other.resume()).poll) == [2, 3]
    assert ids((await other.resume()).poll) == [4]


async def test_a_call_that_is_too_large_alone_is_named() -> None:
    """Before any of the others is made."""

    async def one_large() -> object:
        return await asyncio.gather(calls("small"), _awaited(calls("huge", "x" * MOST_BYTES)))

    asked = Asking(runner(FakeRunnable(one_large, durable=True)), "one_large")
    status, kind, message = failed(await asked.first())
    assert (status, kind) == (Status.PERMANENT_ERROR, "TooLarge")
    assert message.startswith("The input of huge, called at app.py:1: 16000")
    assert message.endswith(
        " bytes, and 16000000 is the most that a server takes. Store large values elsewhere, and "
        "pass where they are"
    )


def waiting(state_bytes: int, inputs: Sequence[int]) -> Waiting:
    made = [
        Numbered(id, Operation(Kind.CALL, "f", "app.py:1", input=Value("T", bytes(size))))
        for id, size in enumerate(inputs)
    ]
    return Waiting(bytes(state_bytes), 1, calls=made)


@pytest.mark.parametrize("may_be_none", [False, True])
def test_a_large_state_goes_before_a_large_call_where_it_is_appended_to(may_be_none: bool) -> None:
    """Both fit, one after the other. Where the state comes whole each time nothing would help."""
    both = waiting(9_000_000, [9_000_000])
    assert len(part_of(both, may_be_none=may_be_none)) == (0 if may_be_none else 1)
    assert len(part_of(waiting(3_000, [15_999_000]), may_be_none=may_be_none)) == 1


@pytest.mark.parametrize("spare", range(-40, 200, 7))
def test_a_part_is_as_large_as_fits(spare: int) -> None:
    """Up to the byte, but for the few that say which calls are held."""
    came = waiting(1_000, [8_000_000, 7_999_000 - 100 - spare, 1])
    part = part_of(came, may_be_none=True)
    rest = Waiting(bytes(1_016), 1, calls=came.calls[: len(part) + 1])
    assert response_of(Waiting(bytes(1_016), 1, calls=part)).ByteSize() <= MOST_BYTES
    assert len(part) == 3 or response_of(rest).ByteSize() > MOST_BYTES - 20
