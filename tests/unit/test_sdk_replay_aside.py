"""The loop of the application is put aside while a durable body runs, and its task with it."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.sdk.replay import aside


async def test_loop_is_the_one_before_again_when_another_has_run() -> None:
    """Also after an error in it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def run() -> None:
        with aside.running_instead(None):
            assert asyncio._get_running_loop() is None
            raise LookupError

    with pytest.raises(LookupError):
        run()
    assert asyncio.get_running_loop() is loop
    assert asyncio.current_task() is task


async def test_current_task_is_put_aside_where_there_is_one_for_each_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As from Python 3.14 on: out and in again while its own loop is the running one."""
    loop, swapped = asyncio.get_running_loop(), []

    def swap(of: object, task: object) -> object:
        assert of is asyncio.get_running_loop() is loop
        swapped.append(task)
        return "the task"

    monkeypatch.setattr(aside, "IS_OF_THE_THREAD", True)
    monkeypatch.setattr(asyncio.tasks, "_swap_current_task", swap, raising=False)
    with aside.running_instead(None):
        assert swapped == [None]
    assert swapped == [None, "the task"]
