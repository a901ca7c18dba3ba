"""What `advance` says a body wants, and what it does with what has happened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.journal import BadState
from dispatcher.sdk.replay.loop import running
from dispatcher.sdk.replay.model import (
    Became,
    Cancelled,
    Ended,
    Event,
    Failure,
    Kind,
    Operation,
    PollRefused,
    Raised,
    Returned,
    Suspended,
    TailCall,
    Value,
)
from dispatcher.sdk.replay.record import kept_in
from dispatcher.testing.durable import (
    BEGAN_US,
    Body,
    Failed,
    advance,
    call,
    close_all,
    ended,
    failure,
    sleep,
    start,
    step,
    suspended,
    value,
)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def _names(outcome: Suspended) -> list[str]:
    return [each.operation.function for each in outcome.calls]


def _cold(body: Body, run: Run) -> Run:
    state = run.state()
    run.close()
    return start(body, state)


async def _two_by_two() -> list[int]:
    async def pair(number: int) -> int:
        first = await call("first", number)
        return await call("second", first)

    return list(await asyncio.gather(*[pair(n) for n in range(3)]))


@pytest.mark.parametrize("batches", [[[0, 1, 2]], [[0], [1], [2]], [[0, 1], [2]]])
def test_results_give_the_same_calls_however_they_were_batched(
    batches: Sequence[Sequence[int]],
) -> None:
    """Each is delivered by itself: the body has waited everywhere before the next one comes."""
    run = start(_two_by_two)
    suspended(run)
    calls = []
    for batch in batches:
        outcome = suspended(run, *[ended(id, id + 5) for id in batch], after_s=1)
        calls += [(each.id, each.operation.input.data[1]) for each in outcome.calls]
    assert calls == [(3, 5), (4, 6), (5, 7)]
    whole = start(_two_by_two)
    suspended(whole)
    suspended(whole, *[ended(id, id + 5) for id in range(3)], after_s=1)
    assert run.state() == whole.state()


def test_result_is_dropped_and_not_recorded_when_it_comes_twice() -> None:
    """Nor does it move the clock: a later sleep ends when it would have."""

    async def pipeline() -> int:
        total = await call("one")
        await call("two")
        return total

    run = start(pipeline)
    suspended(run)
    suspended(run, ended(0, 1), after_s=1)
    once = run.state()
    suspended(run, ended(0, 5), ended(9, 5), after_s=7)
    assert run.state() == once
    assert advance(run, ended(1, 1)) == Returned(1, [])


def test_call_is_given_up_when_its_task_is_cancelled_after_it_was_made() -> None:
    """The loser of a race is named once; its result is dropped when it comes late."""

    async def pipeline() -> int:
        racers = [asyncio.create_task(call(name)) for name in ("slow", "fast")]
        done, pending = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return done.pop().result() + await call("after")

    run = start(pipeline)
    suspended(run)
    outcome = suspended(run, ended(1, 2))
    assert (outcome.cancelled, _names(outcome), outcome.outstanding) == ([0], ["after"], 1)
    cold = _cold(pipeline, run)
    outcome = suspended(cold, ended(0, 9))
    assert (outcome.cancelled, outcome.calls) == ([], [])
    assert advance(cold, ended(2, 1)) == Returned(3, [])


def test_call_is_neither_made_nor_given_up_when_it_was_cancelled_at_once() -> None:
    """It is on record all the same: those after it in its task would move up otherwise."""

    async def pipeline() -> int:
        try:
            async with asyncio.timeout(0):
                await call("never")
        except TimeoutError:
            pass
        return await call("same", 1) + await call("same", 1)

    run = start(pipeline)
    outcome = suspended(run)
    assert [(each.id, each.operation.function) for each in outcome.calls] == [(1, "same")]
    assert outcome.cancelled == []
    outcome = suspended(_cold(pipeline, run), ended(0, 7), ended(1, 2))
    assert [(each.id, each.operation.function) for each in outcome.calls] == [(2, "same")]


def test_calls_of_a_refused_poll_fail_one_by_one() -> None:
    """None of those it asked for was made, and all made before go on."""

    async def guarded(name: str) -> str:
        try:
            await call(name)
        except Failed as error:
            return f"{name}: {error}"
        return name

    async def later() -> list[str]:
        await call("first")
        return list(await asyncio.gather(guarded("two"), guarded("three")))

    async def pipeline() -> object:
        return await asyncio.gather(guarded("before"), later())

    run = start(pipeline)
    suspended(run)
    cold = _cold(pipeline, run)
    suspended(cold, ended(1, 1))
    refusal = PollRefused(failure("too many"))
    warm_state = cold.state()
    cold.mark()
    for again in (start(pipeline, warm_state), cold):
        outcome = suspended(again, refusal)
        assert outcome.outstanding == 1
        result = advance(again, ended(0, 1))
        assert result == Returned(["before", ["two: too many", "three: too many"]], [])


def test_cancelled_call_cleans_up_and_ends_with_the_reason() -> None:
    """The body is cancelled as any task: it may make calls to clean up."""

    async def pipeline() -> None:
        try:
            await call("work")
        finally:
            await call("cleanup")

    run = start(pipeline)
    suspended(run)
    cold = _cold(pipeline, run)
    outcome = suspended(cold, Cancelled("by alice"))
    assert (_names(outcome), outcome.cancelled) == (["cleanup"], [0])
    cold = _cold(pipeline, cold)
    again = suspended(cold, Cancelled("by alice"))
    assert (again.calls, again.outstanding) == ([], 1)
    end = advance(cold, ended(1, 1))
    assert isinstance(end, Raised)
    assert isinstance(end.error, asyncio.CancelledError)
    assert end.error.args == ("by alice",)


def test_body_becomes_another_call_when_it_ends_with_a_tail_call() -> None:
    """It is an outcome of its own, from wherever in the body it comes."""

    class Again(TailCall):
        """As `functions.Reset` is."""

    operation = Operation(Kind.CALL, "pipeline", "app.py:1", input=value(9))

    async def helper() -> None:
        raise Again(operation)

    async def pipeline() -> None:
        try:
            await asyncio.create_task(helper())
        except Exception:
            raise AssertionError("it is no error") from None

    assert advance(start(pipeline)) == Became(operation, [])


def test_call_is_made_before_the_body_ends_when_nobody_waits_for_it() -> None:
    """Whether it is made may not depend on whether an outcome came between it and the end."""

    async def pipeline() -> int:
        asyncio.create_task(call("beside"))  # noqa: RUF006
        return 7

    run = start(pipeline)
    outcome = suspended(run)
    assert (_names(outcome), outcome.wake_us) == (["beside"], BEGAN_US)
    assert advance(_cold(pipeline, run), after_s=1) == Returned(7, [])


def test_step_is_to_be_run_again_when_a_process_was_lost_with_it() -> None:
    """A call is at the server by then; a step was in the process that is gone, or not begun."""

    async def pipeline() -> object:
        return await asyncio.gather(step("resize"), call("f"), step("upload"))

    run = start(pipeline)
    outcome = suspended(run)
    assert [(each.id, each.operation.function) for each in outcome.steps] == [
        (0, "resize"),
        (2, "upload"),
    ]
    assert (_names(outcome), outcome.outstanding) == (["f"], 1)
    outcome = suspended(run, ended(0, 1))
    assert (outcome.steps, outcome.calls) == ([], [])
    outcome = suspended(_cold(pipeline, run))
    assert ([each.id for each in outcome.steps], outcome.calls) == ([2], [])


def test_missing_is_the_whole_group_only_when_nothing_else_is_under_way() -> None:
    """In a group nobody wakes before all have ended. A pipeline beside it wakes at one."""

    async def group() -> list[int]:
        loop, key = running(), object()
        assert loop is not None
        return [
            (await each).data[1]  # type: ignore[union-attr]  # none fails
            for each in [
                loop.perform(Operation(Kind.CALL, "f", "app.py:1", input=value(n)), group=key)
                for n in range(5)
            ]
        ]

    async def both() -> object:
        return await asyncio.gather(group(), call("click"))

    run = start(group)
    assert suspended(run).missing == 5
    assert suspended(run, ended(3, 1), ended(1, 1)).missing == 3
    assert suspended(_cold(group, run)).missing == 3
    run = start(both)
    assert suspended(run).missing == 1
    assert suspended(run, ended(5, 1)).missing == 5
    run.close()


def test_kept_result_is_on_record_as_an_id_and_comes_from_who_keeps_it() -> None:
    """The state holds 5 bytes of it; a replay is given the value."""

    async def pipeline() -> int:
        loop = running()
        assert loop is not None
        large = await loop.perform(Operation(Kind.CALL, "large", "app.py:1"))
        await call("next")
        assert isinstance(large, Value)
        return len(large.data)

    big = Value("google.protobuf.BytesValue", bytes(100_000))
    run = start(pipeline)
    suspended(run)
    suspended(run, Ended(0, big, "01aa", is_kept=True))
    state = run.state()
    assert len(state) < 200
    assert kept_in(state) == ["01aa"]
    with pytest.raises(BadState, match="a result that the server keeps and that is not here"):
        start(pipeline, state)
    cold = start(pipeline, state, kept={"01aa": big})
    assert advance(cold, ended(1, 1)) == Returned(100_000, [])
    assert advance(run, ended(1, 1)) == Returned(100_000, [])


def test_appended_pieces_are_the_state_when_they_are_put_behind_each_other() -> None:
    """The server concatenates and never parses. Each piece has a nonce of its own, which is the
    same for whoever has the same record."""

    async def pipeline() -> int:
        return sum([await call("f", n) for n in range(20)])

    run = start(pipeline)
    assert run.nonce == 0
    suspended(run)
    stored, nonces = run.appended(), {run.nonce}
    run.mark()
    for n in range(19):
        suspended(run, ended(n, 1), after_s=n)
        stored += run.appended()
        cold = start(pipeline, stored)
        nonces.add(run.nonce)
        run.mark()
        cold.close()
    assert len(nonces) == 20
    assert advance(start(pipeline, stored), ended(19, 1)) == Returned(20, [])
    again = start(pipeline, stored)
    suspended(again, after_s=50)
    assert again.state().startswith(stored)


def test_state_is_compacted_when_what_was_appended_has_doubled_it() -> None:
    """Two bodies with one record give one state: warm, or cold from any of the states before."""

    async def pipeline() -> int:
        return sum([await call("f", n % 9) for n in range(400)])

    warm = start(pipeline)
    suspended(warm)
    sizes = []
    for n in range(399):
        state = warm.state()
        warm.mark()
        sizes.append(len(state))
        suspended(warm, ended(n, 1), after_s=n)
        if n % 40 == 0:
            cold = start(pipeline, state)
            suspended(cold, ended(n, 1), after_s=n)
            assert (cold.state(), cold.nonce) == (warm.state(), warm.nonce)
            cold.close()
    assert any(after < before for before, after in pairwise(sizes))
    assert max(sizes) < 2 * 4096 + 100
    warm.close()


def test_sleep_ends_at_its_instant_and_results_come_before_timers() -> None:
    """What is due at an activation comes after the results it brings, by deadline. Nobody else ends
    a sleep."""
    order: list[str] = []

    async def named(name: str, seconds: float) -> None:
        await sleep(seconds)
        order.append(name)

    async def result() -> None:
        await call("f")
        order.append("result")

    async def pipeline() -> None:
        await asyncio.gather(named("late", 2), named("early", 1), result())
        await call("after")

    run = start(pipeline)
    outcome = suspended(run)
    assert (outcome.wake_us, outcome.outstanding) == (BEGAN_US + 1_000_000, 1)
    suspended(run, ended(0, 1), ended(2, 1), after_s=9)
    assert order == ["result", "early", "late"]
    run.close()


def test_time_never_goes_back_when_the_clock_does() -> None:
    """A host whose clock is behind continues where the record is."""
    seen: list[int] = []

    async def pipeline() -> None:
        loop = running()
        assert loop is not None
        for _ in range(2):
            await call("f")
            seen.append(loop.time_us() - BEGAN_US)
        await call("f")

    run = start(pipeline)
    suspended(run)
    suspended(run, ended(0, 1), after_s=5)
    suspended(run, ended(1, 1), after_s=-3)
    assert seen == [5_000_000, 5_000_000]
    run.close()


def test_name_with_a_zero_byte_is_refused_and_moves_nothing() -> None:
    """The name of a promise may come from anywhere. The body can go on, now and in a replay."""

    async def pipeline() -> int:
        with pytest.raises(ValueError, match="has a zero byte"):
            await call("a\0b")
        return await call("f")

    run = start(pipeline)
    suspended(run)
    assert advance(_cold(pipeline, run), ended(0, 3)) == Returned(3, [])


def test_events_after_the_end_of_the_body_are_dropped() -> None:
    """Whatever comes in one activation with the result that ended it."""

    async def pipeline() -> int:
        done, _ = await asyncio.wait(
            [asyncio.create_task(call(n)) for n in "ab"], return_when=asyncio.FIRST_COMPLETED
        )
        return done.pop().result()

    run = start(pipeline)
    suspended(run)
    events: list[Event] = [ended(1, 4), ended(0, 5), Ended(0, Failure("X", "late"))]
    assert advance(run, *events) == Returned(4, [])
