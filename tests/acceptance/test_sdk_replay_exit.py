"""A process that ends while durable calls are suspended in it says nothing, and runs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BEGIN = """
import asyncio
import contextlib

from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.loop import running
from dispatcher.sdk.replay.model import Kind, Operation, Told
from dispatcher.sdk.running.warm import Warm


def call(name):
    return running().perform(Operation(Kind.CALL, name, "app.py:1"))


async def generator():
    try:
        yield await call("one")
    finally:
        print("a generator ended")


async def suspended():
    async def child():
        try:
            async for each in generator():
                pass
        finally:
            await call("cleanup")
            print("a task ended")

    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(child())
    finally:
        print("a body ended")
"""

_SUSPENDED = """
warm = Warm(200)
for number in range(100):
    run = Run(suspended, Told(str(number), "suspended"), None)
    run.advance([], 0)
    warm.put(str(number), run)

print("end", flush=True)
"""


_STUBBORN = """
async def stubborn():
    while True:
        with contextlib.suppress(BaseException):
            await call("again")


evicted = Run(stubborn, Told("stubborn", "stubborn"), None)
evicted.advance([], 0)
evicted.close()
del evicted
print("end", flush=True)
"""


@pytest.mark.parametrize("calls", [_SUSPENDED, _STUBBORN], ids=["suspended", "stubborn"])
def test_process_ends_silently_when_calls_are_suspended_in_it(calls: str) -> None:
    """100 of them, or one that could not be evicted: no `finally` runs, nothing is printed."""
    command = [sys.executable, "-X", "dev", "-c", _BEGIN + calls]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
