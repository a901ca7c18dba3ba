"""Suspended calls that are kept in memory."""

from __future__ import annotations

import subprocess
import sys

from dispatcher.sdk.running.warm import Warm


class Call:
    """A suspended call of so many tasks."""

    def __init__(self, tasks: int = 1) -> None:
        self.tasks = tasks
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_a_call_is_taken_once() -> None:
    """Whoever has it has it alone."""
    warm: Warm[Call] = Warm(10)
    call = Call()
    warm.put("a", call)
    assert warm.take("a") is call
    assert warm.take("a") is None
    assert not call.is_closed


def test_the_oldest_call_is_evicted_when_there_are_too_many() -> None:
    """Of those that went on last the latest are kept."""
    warm: Warm[Call] = Warm(2)
    calls = {name: Call() for name in "abc"}
    for name, call in calls.items():
        warm.put(name, call)
    assert [call.is_closed for call in calls.values()] == [True, False, False]
    assert len(warm) == 2
    taken = warm.take("b")
    assert taken is not None
    warm.put("b", taken)
    warm.put("d", Call())
    assert calls["c"].is_closed


def test_calls_are_evicted_when_they_have_too_many_tasks() -> None:
    """One of many tasks counts as many, and goes alone where it is too large by itself."""
    warm: Warm[Call] = Warm(10, most_tasks=5)
    small, large, huge = Call(2), Call(4), Call(6)
    warm.put("small", small)
    warm.put("large", large)
    assert (small.is_closed, large.is_closed) == (True, False)
    warm.put("huge", huge)
    assert (large.is_closed, huge.is_closed, len(warm)) == (True, True, 0)


def test_nothing_is_kept_when_it_is_off() -> None:
    """Each call is evicted as soon as it is answered."""
    warm: Warm[Call] = Warm(0)
    call = Call()
    warm.put("a", call)
    assert call.is_closed
    assert not warm.is_on


def test_clearing_evicts_all() -> None:
    """And what was held for the end of the process is let go."""
    warm: Warm[Call] = Warm(10)
    call = Call()
    warm.put("a", call)
    warm.clear()
    assert call.is_closed
    assert warm.take("a") is None


_EXIT = """
import sys
from dispatcher.sdk.running.warm import Warm

class Call:
    tasks = 1
    def __init__(self):
        async def body():
            try:
                await Never()
            finally:
                print("its finally ran")
        self.body = body()
        self.body.send(None)
    def close(self):
        print("closed")

class Never:
    def __await__(self):
        yield

warm = Warm(200)
for number in range(100):
    warm.put(str(number), Call())
print("over")
"""


def test_nothing_runs_at_the_end_of_the_process() -> None:
    """Suspended calls go on elsewhere: no `finally`, no line."""
    ended = subprocess.run(
        [sys.executable, "-c", _EXIT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")
