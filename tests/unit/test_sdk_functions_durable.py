"""What a durable function waits for, run by the engine: cold at each activation."""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk.functions.together import together
from dispatcher.sdk.replay.model import (
    INTENT,
    INTERRUPTED,
    Became,
    Failure,
    Kind,
    Operation,
    Raised,
    Result,
    StepRun,
    Told,
)
from dispatcher.sdk.values import encode
from dispatcher.testing.playing import BEGAN_US, Play, answered, argument, played

FILE = "tests/unit/test_sdk_functions_durable.py"


@dispatch.function
async def tenfold(x: int) -> int:
    return x * 10


@dispatch.function
async def other(x: int) -> int:
    return x


def failing(*numbers: int) -> Callable[[Operation], Result]:
    """Calls with these arguments fail."""

    def answer(operation: Operation) -> Result:
        number = argument(operation.input)
        return Failure("ValueError", f"no {number}") if number in numbers else encode(number * 10)

    return answer


def never(*numbers: int) -> Callable[[Operation], Result | None]:
    """Calls with these arguments never end."""
    return lambda operation: None if argument(operation.input) in numbers else answered(operation)


# f.gather


def test_gather_has_the_results_in_the_order_of_its_arguments() -> None:
    """Whatever the order in which they come, and with one poll for all."""
    play = Play(lambda: tenfold.gather([3, 1, 2]), answered)
    assert play.value() == [30, 10, 20]
    assert (play.rounds, len(play.calls)) == ([3], 3)


def test_gather_of_nothing_is_empty() -> None:
    """And waits for nothing."""
    assert played(lambda: tenfold.gather([])) == []


def test_gather_has_no_more_calls_at_once_than_its_limit() -> None:
    """The next one is made when one has ended."""
    play = Play(lambda: tenfold.gather(range(5), limit=2), answered)
    assert play.value() == [0, 10, 20, 30, 40]
    assert play.rounds == [2, 1, 1, 1]


def test_gather_raises_the_first_failure_and_gives_up_the_others() -> None:
    """Nobody can get their results any more."""
    answer = failing(2)
    play = Play(
        lambda: tenfold.gather([1, 2, 3]),
        lambda operation: answer(operation) if argument(operation.input) == 2 else None,
    )
    with pytest.raises(dispatch.CallError, match="ValueError: no 2"):
        play.value()
    assert play.cancelled == [0, 2]


def test_gather_with_a_limit_makes_no_further_calls_after_a_failure() -> None:
    """Those that are left are not even on record: the next call has the next number."""

    async def body() -> int:
        with contextlib.suppress(dispatch.CallError):
            await tenfold.gather(range(5), limit=1)
        return await other(7)

    play = Play(body, failing(1))
    assert play.value() == 70
    assert play.ids == [0, 1, 2]


def test_gather_gives_its_calls_up_when_it_is_cancelled() -> None:
    """As a timeout does."""

    async def body() -> str:
        try:
            async with asyncio.timeout(5):
                await tenfold.gather([1, 2])
        except TimeoutError:
            return "late"
        return "done"

    play = Play(body, never(2))
    assert play.value() == "late"
    assert play.cancelled == [1]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (0, "limit= must be 1 or more, and is 0; None means all at once."),
        (2.5, "limit= must be a whole number, and is 2.5."),
        (True, "limit= must be a whole number, and is True."),
    ],
)
def test_gather_refuses_a_limit_that_means_nothing(limit: Any, words: str) -> None:
    """Where it is written."""
    with pytest.raises((TypeError, ValueError)) as caught:
        tenfold.gather([1], limit=limit)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("xs", "words"),
    [
        (
            "Ada",
            "gather makes a call for each of several arguments, and was given one text, 'Ada': "
            "write `await tenfold.gather([…])`.",
        ),
        (
            3,
            "gather makes a call for each of several arguments, as in "
            "`await tenfold.gather([1, 2])`, and was given 3.",
        ),
    ],
)
def test_gather_refuses_what_is_not_several_arguments(xs: Any, words: str) -> None:
    """A text is one, not its letters."""
    with pytest.raises(TypeError) as caught:
        tenfold.gather(xs)
    assert str(caught.value) == words


def test_gather_says_how_to_pass_more_than_one_argument() -> None:
    """It gives one to each call."""

    @dispatch.function
    async def two(a: int, b: int) -> None: ...

    with pytest.raises(TypeError) as caught:
        two.gather([1])
    assert str(caught.value) == (
        "two() missing 1 required positional argument: 'b': gather gives one argument to each "
        "call; for more write `await dispatch.gather(*(two(a, b) for a, b in pairs))`."
    )


def test_group_of_operations_is_waited_for_as_a_whole() -> None:
    """The server is told how many have to be there."""
    seen = []

    async def body() -> list[int]:
        return await tenfold.gather([1, 2, 3])

    play = Play(body, answered, is_cold=False)
    noted = play._note

    def note(outcome: Any) -> None:
        seen.append((outcome.outstanding, outcome.missing))
        noted(outcome)

    play._note = note  # type: ignore[method-assign]  # to look at what comes out
    play.value()
    assert seen[0] == (3, 3)


# gather, any, race


def test_gather_of_calls_makes_no_tasks() -> None:
    """They are one group, as those of one function are."""

    async def body() -> Any:
        results = await dispatch.gather(tenfold(1), other(2))
        return results, len(asyncio.all_tasks())

    play = Play(body, answered)
    assert play.value() == ([10, 20], 1)
    assert play.rounds == [2]


def test_gather_takes_whatever_can_be_awaited() -> None:
    """Calls, coroutines, sleeps, tasks."""

    async def both() -> int:
        return await tenfold(1) + await other(2)

    async def body() -> Any:
        return await dispatch.gather(both(), tenfold(3), asyncio.create_task(both()))

    assert played(body) == [30, 30, 30]


def test_gather_cancels_the_others_when_one_fails() -> None:
    """And has them clean up before it raises."""
    said = []

    async def slow() -> None:
        try:
            await tenfold(2)
        finally:
            said.append("cleaned up")

    async def body() -> str:
        try:
            await dispatch.gather(slow(), tenfold(1))
        except dispatch.CallError:
            return ", ".join([*said, "caught"])
        return ""

    play = Play(
        body, lambda operation: None if argument(operation.input) == 2 else Failure("E", "x")
    )
    play.is_cold = False
    assert play.value() == "cleaned up, caught"
    assert len(play.cancelled) == 1


@pytest.mark.parametrize("wrap", [lambda call: call, lambda call: asyncio.ensure_future(call)])
def test_gather_has_errors_among_its_results_when_it_is_asked_to(wrap: Any) -> None:
    """With or without tasks."""

    async def body() -> Any:
        first, second = await dispatch.gather(
            wrap(tenfold(1)), wrap(tenfold(2)), return_exceptions=True
        )
        return str(first), second

    assert Play(body, failing(1)).value() == ("ValueError: no 1", 20)


def test_any_has_the_first_result_and_cancels_the_others() -> None:
    """Failures are passed over."""
    answer = failing(1)

    async def body() -> Any:
        return await dispatch.any(tenfold(1), tenfold(2), tenfold(3))

    play = Play(body, lambda each: None if argument(each.input) == 3 else answer(each))
    assert play.value() == 20
    assert play.cancelled == [2]


def test_any_raises_all_errors_when_all_have_failed() -> None:
    """In the order of the arguments."""

    async def body() -> Any:
        return await dispatch.any(tenfold(1), tenfold(2))

    with pytest.raises(ExceptionGroup, match="none of 2 succeeded") as caught:
        Play(body, failing(1, 2)).value()
    assert [str(each) for each in caught.value.exceptions] == [
        "ValueError: no 1",
        "ValueError: no 2",
    ]


def test_race_has_what_ends_first_also_an_error() -> None:
    """And cancels the others."""

    async def body(*numbers: int) -> Any:
        return await dispatch.race(*(tenfold(number) for number in numbers))

    play = Play(lambda: body(1, 2), never(1))
    assert play.value() == 20
    assert play.cancelled == [0]
    with pytest.raises(dispatch.CallError, match="no 1"):
        Play(lambda: body(1, 2), failing(1)).value()


def test_race_with_a_sleep_is_a_timeout() -> None:
    """Whatever can be awaited races."""

    async def body() -> Any:
        return await dispatch.race(tenfold(1), dispatch.sleep(60, "late"))

    play = Play(body, never(1))
    assert play.value() == "late"
    assert play.now_us == BEGAN_US + 60_000_000


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (lambda: dispatch.any(), "dispatch.any() was given nothing to await."),
        (lambda: dispatch.race(), "dispatch.race() was given nothing to await."),
        (
            lambda: dispatch.gather([tenfold(1)]),  # type: ignore[call-overload]  # the mistake
            "dispatch.gather() takes what can be awaited, as f(1), f(2), and was given a list: "
            "write dispatch.gather(*calls).",
        ),
        (
            lambda: dispatch.race(tenfold(1), 3),  # type: ignore[arg-type]  # the mistake
            "dispatch.race() takes what can be awaited, as f(1), f(2), and was given 3.",
        ),
    ],
)
async def test_what_cannot_be_awaited_together_is_refused(
    start: Callable[[], Any], words: str
) -> None:
    """With what to write."""
    with pytest.raises((TypeError, ValueError)) as caught:
        await start()
    assert str(caught.value) == words


async def test_they_work_outside_of_functions_too() -> None:
    """As asyncio's."""

    async def give(x: int, after: int = 0) -> int:
        for _ in range(after):
            await asyncio.sleep(0)
        if x < 0:
            raise ValueError(x)
        return x

    assert list(await dispatch.gather(give(1), give(2))) == [1, 2]
    assert await dispatch.any(give(-1), give(2, 3), give(3, 5)) == 2
    assert await dispatch.race(give(1, 5), give(2)) == 2
    with pytest.raises(ValueError, match="-1"):
        await dispatch.gather(give(-1), give(2, 100))


def test_operations_waited_for_together_may_fail_without_end() -> None:
    """Where the first failure is not to be the last."""

    async def body() -> int:
        from dispatcher.sdk.functions import durable

        class All:
            def __await__(self) -> Any:
                loop = durable.running()
                assert loop is not None
                operations = [tenfold.build_call(x).operation() for x in range(3)]
                return (yield from together(loop, operations, limit=2, is_failure_last=False))

        results = await All()
        return len([each for each in results if isinstance(each, Failure)])

    assert Play(body, failing(0, 2)).value() == 2


# sleep


def test_sleep_takes_its_time() -> None:
    """On record."""

    async def body() -> str:
        await dispatch.sleep(timedelta(days=3))
        return await dispatch.sleep(0.5, "awake")

    play = Play(body, answered)
    assert play.value() == "awake"
    assert play.now_us == BEGAN_US + 3 * 86_400_000_000 + 500_000


@pytest.mark.parametrize(
    ("delay", "words"),
    [
        (-1, "what sleep is given must be 0 or more seconds, or a timedelta, and is -1."),
        (math.nan, "what sleep is given must be a finite number of seconds, and is nan."),
        (math.inf, "what sleep is given must be a finite number of seconds, and is inf."),
        ("3", "what sleep is given must be a number of seconds or a timedelta, and is '3'."),
        (None, "what sleep is given must be a number of seconds or a timedelta, and is None."),
        (10**400, "what sleep is given must be a finite number of seconds, and is 1"),
    ],
)
def test_sleep_refuses_what_is_no_time(delay: Any, words: str) -> None:
    """Where it is written."""
    with pytest.raises((TypeError, ValueError)) as caught:
        dispatch.sleep(delay)
    assert str(caught.value).startswith(words)


async def test_sleep_outside_of_functions_is_that_of_asyncio() -> None:
    """So that `f.local()` works."""
    assert await dispatch.sleep(0, "x") == "x"


# step


def add(a: int, b: int = 0) -> int:
    return a + b


async def add_later(a: int, b: int = 0) -> int:
    await asyncio.sleep(0)
    return a + b


def test_step_gives_what_its_function_returned() -> None:
    """One that is async and one that is not."""

    async def body() -> Any:
        return await dispatch.step(add, 1, b=2), await dispatch.step(add_later, 3)

    play = Play(body, answered)
    assert play.value() == (3, 3)
    assert [each.function for each in play.steps] == ["add", "add_later"]
    works = [each.carrier for each in play.steps]
    assert [work.is_async for work in works if isinstance(work, StepRun)] == [False, True]


def test_step_raises_what_its_function_raised() -> None:
    """In its own class, and it is tried once."""
    tries = []

    def fail() -> None:
        tries.append(1)
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        played(lambda: dispatch.step(fail))
    assert len(tries) == 1


def test_step_is_tried_again_after_durable_sleeps_that_double() -> None:
    """So often it is asked to."""
    tries = []

    def fail() -> int:
        tries.append(1)
        if len(tries) < 4:
            raise KeyError("gone")
        return 7

    play = Play(lambda: dispatch.step.options(retries=3, name="trying")(fail), answered)
    assert play.value() == 7
    assert (play.now_us - BEGAN_US, len(play.steps)) == (7_000_000, 4)
    assert {each.function for each in play.steps} == {"trying"}


def test_step_is_not_tried_again_when_its_error_is_final() -> None:
    """By its class."""

    def fail() -> None:
        raise dispatch.PermanentError("no")

    play = Play(lambda: dispatch.step.options(retries=3)(fail), answered)
    with pytest.raises(dispatch.PermanentError):
        play.value()
    assert len(play.steps) == 1


def test_step_waits_as_long_as_its_error_says() -> None:
    """Where that is longer."""
    tries = []

    def fail() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise dispatch.ThrottledError("slowly", retry_after=90)
        return 7

    play = Play(lambda: dispatch.step.options(retries=1)(fail), answered)
    assert play.value() == 7
    assert play.now_us - BEGAN_US == 90_000_000


def test_step_that_is_done_once_at_most_is_announced() -> None:
    """Two operations, of which the second has what came of the first."""
    play = Play(lambda: dispatch.step.options(at_most_once=True)(add, 1), answered)
    assert play.value() == 1
    first, second = play.steps
    assert first.carrier is INTENT
    assert isinstance(second.carrier, StepRun)
    assert second.carrier.intent == encode("intent")


def test_step_that_may_have_been_done_is_not_tried_again() -> None:
    """It raises what says so."""

    class Interrupting(Play):
        def _result(self, operation: Operation) -> Result | None:
            if isinstance(operation.carrier, StepRun):
                return Failure(INTERRUPTED, "it may have begun")
            return super()._result(operation)

    play = Interrupting(
        lambda: dispatch.step.options(at_most_once=True, retries=5)(add, 1), answered
    )
    with pytest.raises(dispatch.Interrupted, match="it may have begun"):
        play.value()
    assert len(play.steps) == 2


def test_step_has_its_options() -> None:
    """In what runs it."""
    step = dispatch.step.options(timeout=2, input_checked=False).options(retries=1)
    play = Play(lambda: step(add, 1), answered)
    play.value()
    [operation] = play.steps
    assert isinstance(operation.carrier, StepRun)
    assert (operation.carrier.timeout_us, operation.is_input_checked) == (2_000_000, False)


def test_step_is_compared_by_its_arguments() -> None:
    """By value where they can be sent, else by class: a client is another one in each process."""

    def input(*args: Any, **kwargs: Any) -> Any:
        play = Play(lambda: dispatch.step(lambda *a, **k: None, *args, **kwargs), answered)
        play.value()
        return play.steps[0].input

    assert input(1, b=2) == input(1, b=2)
    assert input(1) != input(2)
    assert input(b=2) != input(c=2)
    assert input(object()) == input(object())
    assert input(object()) != input(print)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: dispatch.step(tenfold, 1),
            "tenfold is a function of dispatch, and recorded without a step: write "
            "`await tenfold(…)`, or `await dispatch.step(tenfold.local, …)` to run it here.",
        ),
        (
            lambda: dispatch.step(add_later(1)),  # type: ignore[call-overload]  # the mistake
            "a step is given a function and its arguments, which it calls itself: write "
            "dispatch.step(add_later, …) in place of dispatch.step(add_later(…)).",
        ),
        (
            lambda: dispatch.step(dispatch.sleep, 3),
            "sleep is durable by itself: await it without a step around it.",
        ),
        (
            lambda: dispatch.step(3),  # type: ignore[call-overload]  # the mistake
            "a step is given a function and its arguments, as dispatch.step(fetch, url), and was "
            "given 3.",
        ),
        (
            lambda: dispatch.step.options(retries=-1),
            "retries= must be 0 to 1000, and is -1.",
        ),
        (
            lambda: dispatch.step.options(retries="3"),  # type: ignore[arg-type]  # the mistake
            "retries= must be a whole number, and is '3'.",
        ),
        (lambda: dispatch.step.options(timeout=0), "timeout= must be 1 ms to 1 day, and is 0."),
        (
            lambda: dispatch.step.options(at_most_once=1),  # type: ignore[arg-type]  # the mistake
            "at_most_once= must be True or False, and is 1.",
        ),
    ],
)
def test_step_refuses_what_it_cannot_do(make: Callable[[], Any], words: str) -> None:
    """With what to write."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value) == words


def test_step_says_that_an_awaitable_needs_an_async_function() -> None:
    """It ran in a thread, and nobody awaits there."""
    with pytest.raises(TypeError) as caught:
        played(lambda: dispatch.step.options(name="x")(lambda: add_later(1)))
    assert "was taken for a function that is not async, so it ran in a thread" in str(caught.value)


async def test_step_outside_of_functions_just_runs() -> None:
    """So that `f.local()` works."""
    assert await dispatch.step(add, 1, b=2) == 3
    assert await dispatch.step(add_later, 1) == 1


# reset


def test_reset_ends_the_function_for_another_call() -> None:
    """By a method, also behind `return`, and by an exception."""

    async def by_method() -> None:
        tenfold.reset(4)

    async def by_exception() -> None:
        try:
            raise dispatch.Reset(tenfold(4))
        except Exception:
            pass

    for body in (by_method, by_exception):
        outcome = Play(body, answered).run()
        assert isinstance(outcome, Became)
        assert argument(outcome.operation.input) == 4


# promises and channels


def test_promise_is_a_call_to_its_endpoint() -> None:
    """Whoever completes it, its value is of the type that is expected."""

    async def body() -> Any:
        approval = dispatch.promise("order-7", datetime)
        return await approval, await approval.wait(expiration=60)

    at = datetime(2026, 1, 2, tzinfo=UTC)
    play = Play(body, lambda _: encode(at))
    assert play.value() == (at, at)
    assert [(each.kind, each.endpoint) for each in play.calls] == [
        (Kind.CALL, "promise:order-7")
    ] * 2
    assert play.calls[1].options.expiration_us == 60_000_000


def test_channel_gives_one_value_after_the_other() -> None:
    """Also in a loop."""
    numbers = iter(range(10))

    async def body() -> Any:
        orders = dispatch.channel("orders", int)
        found = [await orders.receive(), await orders]
        async for number in orders:
            found.append(number)
            if number == 4:
                break
        return found

    play = Play(body, lambda _: encode(next(numbers)))
    assert play.value() == [0, 1, 2, 3, 4]
    assert {each.endpoint for each in play.calls} == {"channel:orders"}


# patched


def test_patched_is_true_for_calls_that_come_with_the_new_code() -> None:
    """And it is on record."""

    async def body() -> Any:
        seen = [dispatch.patched("send an invoice too")]
        await tenfold(1)
        return [*seen, dispatch.patched("send an invoice too")]

    assert played(body) == [True, True]


def test_patched_is_true_outside_of_durable_functions() -> None:
    """There is nothing to go on with."""
    assert dispatch.patched("x")
    with pytest.raises(ValueError, match="the name of the change that patched is given"):
        dispatch.patched("grüß")


# the clock and chance


def test_clock_chance_and_names_are_the_same_in_every_replay() -> None:
    """And others for another call."""

    async def body() -> Any:
        before = [
            dispatch.now(),
            dispatch.random(),
            dispatch.uuid4(),
            dispatch.random.randint(0, 9**9),
        ]
        deck = list(range(20))
        dispatch.random.shuffle(deck)
        await dispatch.sleep(60)
        return [*before, *deck, dispatch.now(), dispatch.uuid4()]

    first = played(body)
    assert first == played(body)
    assert first != Play(body, answered, told=Told("c2", "pipeline")).value()
    assert first[0] == datetime.fromtimestamp(BEGAN_US / 1e6, UTC)
    assert first[-2] - first[0] == timedelta(seconds=60)
    assert (first[2].version, first[2].variant) == (4, uuid.RFC_4122)


def test_chance_is_another_one_after_a_tail_call() -> None:
    """Which has the same id, and begins later: what it names and dispatches is new."""

    async def body() -> Any:
        return dispatch.uuid4(), dispatch.random()

    first = Play(body, answered)
    later = Play(body, answered, now_us=BEGAN_US + 1)
    assert first.value() != later.value()


def test_clock_and_chance_are_the_systems_outside() -> None:
    """As `datetime.now` and `random`."""
    assert abs(dispatch.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert 0 <= dispatch.random() < 1
    assert dispatch.uuid4() != dispatch.uuid4()
    assert dispatch.uuid4().version == 4
    assert dispatch.random.choice([3]) == 3
    with pytest.raises(NotImplementedError, match="the call's id seeds it"):
        dispatch.random.getstate()


# current


def test_current_tells_of_the_call() -> None:
    """What its Run request said."""

    async def body() -> Any:
        before = dispatch.current()
        await tenfold(1)
        return before, dispatch.replaying()

    told = Told(
        "c1", "pipeline", "p1", "r1", created_us=1_000_000, expires_us=2_000_000, version="v"
    )
    current, is_replaying = Play(body, answered, told=told).value()
    assert (current.id, current.function, current.parent_id, current.root_id, current.version) == (
        "c1",
        "pipeline",
        "p1",
        "r1",
        "v",
    )
    assert current.created_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert current.expires_at == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
    assert (current.is_durable, is_replaying) == (True, False)


def test_current_says_that_nothing_is_called() -> None:
    """Outside of functions."""
    with pytest.raises(RuntimeError) as caught:
        dispatch.current()
    assert str(caught.value) == (
        "dispatch.current() is for the code of a function while it is called: nothing is called "
        "here."
    )


def test_call_that_is_never_awaited_in_a_durable_function_says_so() -> None:
    """Once, on the run that makes it."""

    async def body() -> None:
        tenfold(1)
        await other(2)

    with pytest.warns(RuntimeWarning) as caught:
        played(body)
    at = f"{FILE}:{body.__code__.co_firstlineno + 1}"
    assert [str(each.message) for each in caught if each.category is RuntimeWarning] == [
        f"the call of tenfold made at {at} was never awaited: nothing was dispatched. "
        "Write `await` before it."
    ]


def test_error_of_a_child_is_raised_in_the_function() -> None:
    """And leaves it, if nobody catches it."""
    outcome = Play(lambda: tenfold(1), failing(1)).run()
    assert isinstance(outcome, Raised)
    assert str(outcome.error) == "ValueError: no 1"
