"""`crash_everywhere` and `replay`: what a function comes to after a crash, and after an edit."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk import Function
from dispatcher.sdk.client.errors import AlreadyCompleted
from dispatcher.sdk.testing import (
    CrashShows,
    Environment,
    History,
    NoLongerFits,
    crash_everywhere,
    replay,
)
from dispatcher.sdk.testing.crashes import Crash, Killed, Played, crash_all

_RAN: list[object] = []


@dispatch.function
async def double(number: int) -> int:
    _RAN.append(number)
    return 2 * number


def note(text: str) -> str:
    _RAN.append(text)
    return f"noted {text}"


@dispatch.function
async def pipeline(number: int) -> dict[str, object]:
    first = await double(number)
    noted = await dispatch.step(note, str(first))
    await dispatch.sleep(3600)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_branch(first + i)) for i in range(3)]
    answer = await dispatch.promise("answer", str)
    return {"noted": noted, "branches": [task.result() for task in tasks], "answer": answer}


async def _branch(number: int) -> int:
    await asyncio.sleep(number)
    return await double(number) + sum(await double.gather([1, 2]))


@dispatch.function(durable=True)
async def shaky() -> int:
    """Not deterministic: its memory outlives no crash."""
    _RAN.append("began")
    began = len(_RAN)
    await dispatch.sleep(1)
    return began


@dispatch.function
async def approves() -> str:
    await dispatch.promise("approval", str).resolve("yes")
    return await dispatch.promise("approval", str)


@dispatch.function
async def failing() -> None:
    await double(1)
    raise KeyError("gone")


def test_function_comes_to_the_same_when_it_is_crashed_everywhere() -> None:
    """Two crashes for each answer, of application and server; steps and functions may run again,
    what is stored is the same."""
    with Environment(pipeline, replay="never") as env:
        env.resolve("answer", "yes")
        env.run(pipeline, 2)
        answers = env._parts.running.answers
    _RAN.clear()
    with Environment(pipeline) as env:
        env.resolve("answer", "yes")
        came = env.crash_everywhere(pipeline, 2)
    assert came == {"noted": "noted 4", "branches": [14, 16, 18], "answer": "yes"}
    assert _RAN.count("4") == 1 + 2 * answers + 2, "again after each crash that lost its result"


def test_difference_is_shown_when_a_crash_of_the_server_makes_one() -> None:
    """The application lives on, and is asked the same again."""

    def play(killed: Killed | None) -> Played[int]:
        is_other = killed is not None and killed.crash is Crash.SERVER
        return Played(int(is_other), None, (), answers=1, crashed_in="the first run of f")

    with pytest.raises(CrashShows) as told:
        crash_all(play)
    assert str(told.value).splitlines()[:3] == [
        "After a crash of the server before it had stored what the first run of f answered:",
        "  now      returned 1",
        "  without  returned 0",
    ]


def test_server_that_crashed_asks_an_application_that_lives_the_same_again() -> None:
    """Which has gone further by then: it forgets the body, and replays it."""
    with Environment(pipeline, replay="never") as env:
        runner = env._parts.application._runner
        env._parts.running.killed = Killed(2, Crash.SERVER)
        env.resolve("answer", "yes")
        env.run(pipeline, 2)
        assert env._parts.application._runner is runner
        assert env._parts.running.crashed_in == "a resume of pipeline"


def test_promise_is_resolved_once_more_by_who_crashed_when_it_was() -> None:
    """Its step is done again, and finds the value that it gives; another value counts."""
    assert crash_everywhere(approves) == "yes"
    with Environment(approves) as env:
        env.resolve("approval", "no")
        with pytest.raises(AlreadyCompleted):
            env.run(approves)


def test_difference_is_shown_when_a_crash_makes_one() -> None:
    """With where the crash was, and both results."""
    with pytest.raises(CrashShows) as told:
        crash_everywhere(shaky)
    assert re.sub(r"\d+", "N", str(told.value)) == (
        "After a crash before the first run of shaky was answered:\n"
        "  now      shaky returned N\n"
        "  without  shaky returned N\n"
        "Look for time, randomness, sets, I/O or globals; stub what gives another value each time."
    )


@dispatch.function
async def careful(text: str) -> str:
    try:
        return await dispatch.step.options(at_most_once=True)(note, text)
    except dispatch.Interrupted:
        return "who knows"


def test_step_that_runs_once_at_most_is_told_of_when_a_crash_hides_its_end() -> None:
    """With how to test what follows: that it was announced is no difference."""
    with pytest.raises(CrashShows) as told:
        crash_everywhere(careful, "this")
    assert str(told.value) == (
        "After a crash before a resume of careful was answered:\n"
        "  now      careful returned 'who knows'\n"
        "  without  careful returned 'noted this'\n"
        "A step with at_most_once=True is not repeated after a crash, so crash_everywhere is for "
        "functions without one: test what follows with env.fail(step, dispatch.Interrupted)."
    )
    with Environment(careful) as env:
        env.fail(note, dispatch.Interrupted)
        assert env.run(careful, "this") == "who knows"
        assert env.runs(note) == 1


def test_error_of_the_function_is_raised_when_it_fails_each_time() -> None:
    """An error is a result as well."""
    with pytest.raises(KeyError, match="gone"):
        crash_everywhere(failing)


def _recorded(made: Function[[int], Any]) -> History:
    with Environment(made) as env:
        env.start(made, 2)
        env.advance(hours=2)
        return env.history(made)


def test_history_fits_when_the_function_is_as_it_was(tmp_path: Path) -> None:
    """It is kept in a file, beside the tests."""
    file = tmp_path / "pipeline.json"
    _recorded(pipeline).save(file)
    replay(pipeline, History.load(file))


def test_history_runs_no_step_when_it_is_replayed() -> None:
    """Not one that was under way then, nor one that is new."""
    history = _recorded(pipeline)
    _RAN.clear()
    replay(pipeline, history)
    assert _RAN == []
    with pytest.raises(NoLongerFits) as told:
        replay(_with_a_step_at_the_end(), history)
    assert str(told.value) == (
        "pipeline goes on otherwise than on record.\n"
        "  recorded   calls promise\n"
        "  now        runs the step note"
    )
    assert _RAN == []


def test_history_is_contradicted_when_the_function_was_edited() -> None:
    """What suspended calls would run into after a deploy."""
    history = _recorded(pipeline)
    edited = _edited()
    with pytest.raises(NoLongerFits) as told:
        replay(edited, history)
    assert "recorded   await 1: double" in str(told.value)


def test_history_is_refused_when_it_is_of_another_function() -> None:
    """Or of a call that has not waited for anything."""
    with pytest.raises(NoLongerFits) as told:
        replay(double, _recorded(pipeline))
    assert str(told.value) == "This is a history of pipeline, not of double."
    with Environment(double) as env:
        env.run(double, 1)
        with pytest.raises(LookupError) as nothing:
            env.history(double)
    assert str(nothing.value).startswith("double was not resumed here")


def _with_a_step_at_the_end() -> Function[[int], Any]:
    @dispatch.function(name="pipeline")
    async def pipeline(number: int) -> str:
        first = await double(number)
        await dispatch.step(note, str(first))
        await dispatch.sleep(3600)
        async with asyncio.TaskGroup() as group:
            for i in range(3):
                group.create_task(_branch(first + i))
        return await dispatch.step(note, "new")

    return pipeline


def _edited() -> Function[[int], Any]:
    @dispatch.function(name="pipeline")
    async def pipeline(number: int) -> int:
        await dispatch.sleep(1)
        return await double(number)

    return pipeline
