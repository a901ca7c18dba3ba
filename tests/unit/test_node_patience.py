"""How long a stop waits for a log whose disk does not answer."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from dispatcher.node.patience import ends_unless_stalled


async def test_wait_goes_on_while_the_log_stores() -> None:
    """However long it takes; what it fails with is raised."""
    stored = 0

    async def store() -> None:
        nonlocal stored
        while stored < 30:
            await asyncio.sleep(0.001)
            stored += 1
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        await ends_unless_stalled(store, lambda: stored, patience_s=0.01, look_s=0.001)


async def test_log_that_does_not_answer_is_given_up() -> None:
    """And what waited for it is cancelled."""
    was_cancelled = False

    async def hang() -> None:
        nonlocal was_cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    assert not await ends_unless_stalled(hang, lambda: 0, patience_s=0.01, look_s=0.001)
    assert was_cancelled


async def test_log_that_answered_while_the_process_stood_still_is_not_given_up() -> None:
    """Its answer is there, and only was not looked at."""
    loop = asyncio.get_running_loop()

    async def sync() -> None:
        answered = loop.create_future()

        stopped, has_answered = threading.Event(), threading.Event()

        def answer() -> None:
            stopped.wait(60)
            loop.call_soon_threadsafe(answered.set_result, None)
            has_answered.set()

        def stand_still() -> None:
            stopped.set()
            assert has_answered.wait(60)
            time.sleep(0.1)

        threading.Thread(target=answer).start()
        loop.call_later(0.005, stand_still)
        await answered

    assert await ends_unless_stalled(sync, lambda: 0, patience_s=0.05, look_s=0.01)
