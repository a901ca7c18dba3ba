"""A process that is told to stop before it has an event loop. In one of its own: there all threads
hold the signals back."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BEGIN = """
import os, signal, sys, time
from dispatcher.node.early_stop import STOP, EarlyStop
signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
early = EarlyStop(float(sys.argv[1]))
early.begin()
"""
_SIGNALLED = "os.kill(os.getpid(), signal.SIGTERM)\n"
_SEEN = "while early._caught is None: time.sleep(0.001)\n"
_HANGS = "time.sleep(600)\n"


def ended(program: str, *, grace_s: float = 600) -> tuple[int, str, str]:
    """Exit code and output of a program that begins to wait."""
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + program, str(grace_s)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_signal_that_came_early_is_left_to_the_server() -> None:
    """Which has come to its handlers soon enough, and asks once more."""
    program = _SIGNALLED + _SEEN + "print(early.end().name, early.end().name)"
    assert ended(program) == (0, "SIGTERM SIGTERM\n", "")


def test_start_that_is_slow_and_at_work_comes_to_its_handlers() -> None:
    """Also when that takes several times as long as one may do nothing."""
    patient = "from dispatcher.node import early_stop\nearly_stop._MOST = 1000\n"
    works = "until = time.process_time() + 0.4\nwhile time.process_time() < until: pass\n"
    program = patient + _SIGNALLED + _SEEN + works + "print(early.end().name)"
    assert ended(program, grace_s=0.1) == (0, "SIGTERM\n", "")


def test_signals_that_come_later_are_the_servers() -> None:
    """Nobody waits for them any more."""
    program = "print(early.end())\n" + _SIGNALLED + "print(signal.sigwait(STOP).name)"
    assert ended(program) == (0, "None\nSIGTERM\n", "")


@pytest.mark.parametrize(("grace_s", "again", "code"), [(0.01, "", 0), (600, _SIGNALLED, 1)])
def test_start_that_hangs_ends(grace_s: float, again: str, code: int) -> None:
    """With 0 after the time that it had; a second signal ends it at once, as it does later."""
    program = _SIGNALLED + _SEEN + again + _HANGS
    found, _, said = ended(program, grace_s=grace_s)
    assert found == code
    assert "a file hangs" in said
