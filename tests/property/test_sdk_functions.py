"""Programs of what functions are written with: run cold they do what they do warm."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import dispatcher.sdk as dispatch
from dispatcher.sdk.functions import naming
from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.model import (
    Ended,
    Failure,
    Kind,
    Numbered,
    Operation,
    Outcome,
    Raised,
    Result,
    Returned,
    StepRun,
    Suspended,
    Told,
)
from dispatcher.sdk.values import encode
from dispatcher.testing.playing import BEGAN_US, argument
from tests.effort import times


@dispatch.function
async def leaf(x: int) -> int:
    return x


@dispatch.function
async def breaks(x: int) -> int:
    return x


def work(x: int) -> int:
    if x % 3 == 0:
        raise ValueError(x)
    return x


Program = tuple[Any, ...]

LEAVES = st.one_of(
    st.tuples(st.sampled_from(["leaf", "breaks", "step", "retried"]), st.integers(0, 99)),
    st.tuples(st.just("sleep"), st.integers(0, 5)),
    st.tuples(st.just("fgather"), st.lists(st.integers(0, 99), max_size=5), st.integers(1, 6)),
)


def _inner(children: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    several = st.lists(children, min_size=1, max_size=4)
    kinds = ["seq", "gather", "results", "asyncio", "group", "any", "race", "set"]
    return st.one_of(
        st.tuples(st.sampled_from(kinds), several),
        st.tuples(st.just("try"), children),
        st.tuples(st.just("timeout"), children, st.integers(0, 6)),
    )


PROGRAMS: st.SearchStrategy[Program] = st.recursive(LEAVES, _inner, max_leaves=12)


def awaitable(program: Program) -> Awaitable[Any]:
    """A program as something to await: a call where it is one."""
    kind = program[0]
    if kind == "leaf":
        return leaf(program[1])
    if kind == "breaks":
        return breaks(program[1])
    if kind == "step":
        return dispatch.step(work, program[1])
    if kind == "retried":
        return dispatch.step.options(retries=1)(work, program[1])
    if kind == "sleep":
        return dispatch.sleep(program[1], "slept")
    if kind == "fgather":
        return leaf.gather(program[1], limit=program[2])
    return _composed(*program)


async def _composed(kind: str, *args: Any) -> Any:
    match kind, args:
        case "try", (inner,):
            try:
                return await awaitable(inner)
            except Exception as error:
                return f"{type(error).__name__}"
        case "timeout", (inner, seconds):
            async with asyncio.timeout(seconds):
                return await awaitable(inner)
        case "seq", (inners,):
            return [await awaitable(inner) for inner in inners]
        case "group", (inners,):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_alone(inner)) for inner in inners]
            return [task.result() for task in tasks]
        case "set", (inners,):
            return [await each for each in {asyncio.create_task(_alone(one)) for one in inners}]
        case _, (inners,):
            return await _together(kind, [awaitable(inner) for inner in inners])


async def _together(kind: str, awaitables: list[Awaitable[Any]]) -> Any:
    if kind == "gather":
        return await dispatch.gather(*awaitables)
    if kind == "results":
        results = await dispatch.gather(*awaitables, return_exceptions=True)
        return [
            type(each).__name__ if isinstance(each, BaseException) else each for each in results
        ]
    if kind == "asyncio":
        return list(await asyncio.gather(*awaitables))
    return await (dispatch.any if kind == "any" else dispatch.race)(*awaitables)


async def _alone(program: Program) -> Any:
    return await awaitable(program)


@dataclass
class Playing:
    """Plays a program. Who ends next is drawn, from what waits; `cold` how often it is replayed."""

    program: Program
    seed: int
    is_cold: Callable[[Random], bool]
    seen: list[Any] = field(default_factory=list)
    known: dict[int, Operation] = field(default_factory=dict)

    def outcome(self) -> Outcome:
        """What comes of it; `seen` is what came out on the way."""
        drawn, coin = Random(self.seed), Random(self.seed + 1)
        run, told = Run(self._body, Told("c1", "pipeline"), None), Told("c1", "pipeline")
        now_us, waiting = BEGAN_US, list[Numbered]()
        outcome = run.advance([], now_us)
        while isinstance(outcome, Suspended):
            waiting = self._waiting(waiting, outcome)
            events, now_us = self._next(drawn, waiting, outcome.wake_us, now_us)
            if self.is_cold(coin):
                state = run.state()
                run.close()
                run = Run(self._body, told, state)
                # Who was to do its steps is gone: they come out again, if they are still wanted.
                waiting = [each for each in waiting if each.operation.kind is Kind.CALL]
            outcome = run.advance(events, now_us)
        run.close()
        return outcome

    def _waiting(self, before: list[Numbered], outcome: Suspended) -> list[Numbered]:
        """What waits now, by number; what is new of it is noted, steps once."""
        gone = set(outcome.cancelled)
        now = sorted((*before, *outcome.calls, *outcome.steps), key=lambda each: each.id)
        new = [each for each in now if each.id not in self.known]
        self.known |= {each.id: each.operation for each in new}
        cancelled = sorted(id for id in gone if self.known[id].kind is Kind.CALL)
        operations = [(each.id, each.operation.function) for each in new]
        self.seen.append((operations, cancelled, outcome.wake_us))
        return [each for each in now if each.id not in gone]

    def _body(self) -> Any:
        return _alone(self.program)

    def _next(
        self, drawn: Random, waiting: list[Numbered], wake_us: int | None, now_us: int
    ) -> tuple[list[Ended], int]:
        if wake_us is not None and (not waiting or drawn.random() < 0.3):
            return [], max(now_us, wake_us)
        count = drawn.randint(1, min(3, len(waiting)))
        ended = [waiting.pop(drawn.randrange(len(waiting))) for _ in range(count)]
        return [Ended(each.id, _result(each.operation)) for each in ended], now_us


def _result(operation: Operation) -> Result:
    work = operation.carrier
    if isinstance(work, StepRun):
        try:
            return work.encode(work.call())
        except ValueError as error:
            return Failure("ValueError", str(error))
    number = argument(operation.input)
    return Failure("ValueError", "no") if operation.function == "breaks" else encode(number)


def shown(outcome: Outcome) -> object:
    if isinstance(outcome, Raised):
        return type(outcome.error).__name__, str(outcome.error)
    assert isinstance(outcome, Returned), outcome
    return outcome.value


@given(PROGRAMS, st.integers(0, 2**16))
@settings(max_examples=times(40), deadline=None)
def test_program_run_cold_does_what_it_does_warm(program: Program, seed: int) -> None:
    """Whatever it waits for, and in whatever order that ends: the same calls, steps, cancels and
    timers come out at each activation, and the same result."""
    warm = Playing(program, seed, lambda _: False)
    expected = shown(warm.outcome())
    for is_cold in (lambda _: True, lambda coin: coin.random() < 0.5):
        cold = Playing(program, seed, is_cold)
        assert shown(cold.outcome()) == expected
        assert cold.seen == warm.seen


@given(st.text(max_size=30))
def test_fitting_name_fits_whatever_a_function_is_called(qualified: str) -> None:
    """As the wire wants it."""
    name = naming.fitting(qualified)
    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_<>.]*", name)
    assert naming.checked(name, of="it") == name
    if re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_<>.]*", qualified):
        assert name == qualified
