"""Servers of tests that are started by fork."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dispatcher.testing.forking import Forked

AT_ONCE = 8
ROUNDS = 5


def _started_and_killed(directory: Path, number: int) -> int:
    # A job of some size, so that it is not handed over in one go.
    environ = {"LISTEN": "not an address", "PADDING": f"{number}" * 100_000}
    process = Forked(directory, environ)
    os.killpg(process.pid, signal.SIGKILL)  # at once: its number is known when it has a session
    process.stdout.close()
    process.stderr.close()
    return process.wait(60)


def test_servers_are_started_from_several_threads(tmp_path: Path) -> None:
    """The jobs of one are not mixed with those of another, and each can be killed at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        codes = pool.map(lambda n: _started_and_killed(tmp_path, n), range(AT_ONCE * ROUNDS))
        assert set(codes) == {-signal.SIGKILL}
