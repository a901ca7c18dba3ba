"""Ends what a run has started, if the run itself is killed. A script: it imports nothing of ours.

    python -I -S guard.py < orders

An order is a line: `group 123` (a process group that is to die with the run), `gone 123` (it has
ended), `remove DIR`, `done`. Where the orders end without `done`, the run is dead: its groups are
killed, and its directory is removed. What is inherited, such as the lock of a session, is held
until those processes are gone.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

WAIT_S = 5.0
_POLL_S = 0.01


def guard(orders: Iterable[str]) -> None:
    """Follow orders until they end."""
    groups: set[int] = set()
    directories: list[str] = []
    for order in orders:
        verb, _, what = order.rstrip("\n").partition(" ")
        if verb == "done":
            return
        if verb == "group":
            groups.add(int(what))
        elif verb == "gone":
            groups.discard(int(what))
        elif verb == "remove":
            directories.append(what)
    _kill(groups)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _kill(groups: set[int]) -> None:
    deadline = time.monotonic() + WAIT_S
    for group in groups:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    while time.monotonic() < deadline and groups & _groups_that_live():
        time.sleep(_POLL_S)


def _groups_that_live() -> set[int]:
    """Zombies have let go of everything; whoever inherited them may never look after them."""
    found = set()
    for number in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{number}/stat", encoding="utf-8", errors="replace") as file:
                # After the name, which may hold anything: state, parent, group.
                state, _, group, *_ = file.read().rpartition(")")[2].split()
            if state not in "ZX":
                found.add(int(group))
    return found


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guard(sys.stdin)
