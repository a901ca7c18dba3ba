"""Sees which functions of C a durable body calls that give something else each time, or that block.

The interpreter's profiling hook names each such function before it is called, its audit hooks name
what reaches out of the process. Calls that the SDK or an import makes are its own business.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Final

from dispatcher.sdk.replay.where import Spot, user_of

Report = Callable[[str, Spot], None]
"""Takes what the body does ("reads the clock"), and where."""

CLOCK: Final = "reads the clock"
RANDOM: Final = "draws a random number"
BLOCKS: Final = "blocks"
THREAD: Final = "starts a thread"

_CLOCKS: Final = {
    "time": (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns",
    ),
    "datetime": ("now", "utcnow", "today"),
}  # fmt: skip
_AUDITED: Final = {
    "http.client.send": "sends a request",  # on a connection that was open, too
    "open": "opens a file",
    "os.listdir": "reads a directory",
    "os.scandir": "reads a directory",
    "os.mkdir": "makes a directory",
    "os.remove": "removes a file",
    "os.rename": "renames a file",
    "os.posix_spawn": "starts a process",
    "os.system": "starts a process",
    "socket.connect": "opens a connection",
    "socket.getaddrinfo": "looks up the address of a host",
    "socket.sendto": "writes to a socket",
    "sqlite3.connect": "opens a database",
    "subprocess.Popen": "starts a process",
}
# They look at the clock for themselves, and nothing of it comes back. Hypothesis measures garbage
# collections, and there may be one on any line.
_QUIET: Final = frozenset(
    {"asyncio", "hypothesis", "logging", "threading", "warnings", "_warnings"}
)

_watched = threading.local()


@contextmanager
def watching(report: Report) -> Iterator[None]:
    """Watch this thread while the block runs; under a profiler only what the audit hooks name."""
    _install_audit()
    before, outer = sys.getprofile(), getattr(_watched, "report", None)
    _watched.report = report

    def profile(frame: FrameType, event: str, called: object) -> None:
        what = _meaning(called) if event == "c_call" else None
        if what is not None:
            _tell(report, what, _starter(frame) if what == THREAD else frame)

    if before is None:  # somebody who measures goes first, and could not be put back
        sys.setprofile(profile)
    try:
        yield
    finally:
        if before is None:
            sys.setprofile(None)
        _watched.report = outer


def _meaning(called: object) -> str | None:
    """What a function of C does that is not the same each time."""
    name = getattr(called, "__name__", "")
    owner = getattr(called, "__self__", None)
    if name == "urandom" or owner is _shared_random():
        return RANDOM
    module = getattr(owner, "__module__", None) or getattr(owner, "__name__", "")
    if module == "time" and name == "sleep":
        return BLOCKS
    if module == "_thread" and name in ("start_new_thread", "start_joinable_thread"):
        return THREAD  # audit hooks hear of it from Python 3.12 on
    return CLOCK if name in _CLOCKS.get(str(module), ()) else None


def _shared_random() -> random.Random:
    """The generator behind `random.random` and its like; one of the body's own is its business."""
    return random.random.__self__  # type: ignore[attr-defined, no-any-return]  # a bound method


def _tell(report: Report, what: str, frame: FrameType) -> None:
    caller = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    at = user_of(frame)
    if at is not None and _QUIET.isdisjoint((at.library, caller)):
        report(what, at)


def _starter(frame: FrameType) -> FrameType:
    """Who asked `threading` for it, where it was that."""
    while frame.f_globals.get("__name__") == "threading" and frame.f_back is not None:
        frame = frame.f_back
    return frame


@cache
def _install_audit() -> None:
    """Once, as it can't be taken away again."""

    def audited(event: str, _: tuple[object, ...]) -> None:
        what = _AUDITED.get(event)
        report = getattr(_watched, "report", None) if what is not None else None
        if what is not None and report is not None:
            _tell(report, what, sys._getframe(1))

    sys.addaudithook(audited)
