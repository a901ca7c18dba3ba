"""A dispatcher whose event loop is watched: `python -m benchmarks.watching FILE`.

It runs on the loop of the standard library, where every callback can be timed: what a callback
does is the same on uvloop. Time is the processor's, of the loop's own thread, so that other
processes on the same cores do not count; the garbage collector does, and so does what a callback
waits for with the interpreter's lock held. SIGUSR2 begins anew; FILE is written at the end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

NOTED_SECONDS = 0.001


class Holds:
    """How long callbacks held the loop: of each the number above a millisecond and the longest."""

    def __init__(self) -> None:
        self._collected = 0.0
        self._began = 0.0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.callbacks = 0
        self.seconds = 0.0
        self.long: dict[str, list[float]] = {}

    def run(self, run: Callable[[asyncio.Handle], None], handle: asyncio.Handle) -> None:
        """Run a callback; what the garbage collector takes meanwhile is not its own."""
        began, collected = time.thread_time(), self._collected
        run(handle)
        seconds = time.thread_time() - began - (self._collected - collected)
        self.callbacks += 1
        self.seconds += seconds
        if seconds >= NOTED_SECONDS:
            self._note(_name(handle), seconds)

    def collects(self, phase: str, info: dict[str, int]) -> None:
        """The garbage collector begins or ends."""
        if phase == "start":
            self._began = time.thread_time()
            return
        seconds = time.thread_time() - self._began
        self._collected += seconds
        if seconds >= NOTED_SECONDS:
            self._note(f"the garbage collector, generation {info['generation']}", seconds)

    def _note(self, name: str, seconds: float) -> None:
        found = self.long.setdefault(name, [0, 0.0])
        found[0] += 1
        found[1] = max(found[1], seconds)

    def document(self) -> str:
        """As it is written."""
        return json.dumps(
            {"callbacks": self.callbacks, "seconds": self.seconds, "long": self.long}, indent=1
        )


def _name(handle: asyncio.Handle) -> str:
    """The coroutine of a task, down to what it was in last, or the function."""
    callback = handle._callback  # type: ignore[attr-defined]  # nothing else says what it is
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        callback = getattr(callback, "func", callback)  # of a partial
        return str(getattr(callback, "__qualname__", callback))
    names = []
    step: Any = task.get_coro()
    while step is not None:
        names.append(getattr(step, "__qualname__", type(step).__name__))
        step = getattr(step, "cr_await", None) or getattr(step, "ag_await", None)
    return " > ".join(names[-4:])


def main() -> None:
    """Serve, watched, until a signal comes."""
    path = Path(sys.argv.pop(1))
    holds = Holds()
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        holds.run(run, handle)

    def begin_anew(_: int, __: FrameType | None) -> None:
        holds.clear()

    patched: Any = asyncio.Handle
    patched._run = timed
    started: Any = uvloop
    started.new_event_loop = asyncio.new_event_loop
    signal.signal(signal.SIGUSR2, begin_anew)
    gc.callbacks.append(holds.collects)
    from dispatcher.cli.main import main as serve

    try:
        sys.argv = ["dispatcher", "serve"]
        serve()
    finally:
        path.write_text(holds.document())


if __name__ == "__main__":
    main()
