"""The file of a receiver's store, shared by processes that start together and are killed."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from dispatcher.receiver import Claimed, Handled, Running, SqliteStore
from tests.crash.receiving import LEASE_US

ROOT = Path(__file__).parents[2]
Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process of `receiving`, which waits until it is told to go on."""
    started: list[Process] = []

    def make(word: str, what: str, *, prefix: Sequence[str] = ()) -> Process:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.crash.receiving", word, tmp_path / "a.db", what],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that it is killed with what traces it
        )
        started.append(process)
        return process

    yield make
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def go(*processes: Process) -> None:
    """All at the same time, and after all have started."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
    for process in processes:
        assert process.stdin is not None
        process.stdin.flush()


def said(process: Process) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_that_start_together_get_each_message_once(start: Start) -> None:
    """Also the file is made by one of them, and by none of them twice."""
    processes = [start("claim", "200") for _ in range(4)]
    go(*processes)
    got: Counter[str] = Counter()
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        got.update(output.split())
    assert got == {str(number): 1 for number in range(200)}


def test_what_was_handled_is_remembered_when_processes_are_killed(
    start: Start, tmp_path: Path
) -> None:
    """Wherever they are; the file is whole, and the others go on."""
    survivor = start("handle", "survivor")
    go(survivor)
    handled = [said(survivor)]
    for round_ in range(5):
        killed = [start("handle", f"{round_}-{number}") for number in range(2)]
        go(*killed)
        for process in killed:
            handled.append(said(process))
        for process in killed:
            process.kill()
            assert process.stdout is not None
            handled += process.stdout.read().split()
        handled.append(said(survivor))
    survivor.kill()
    store = SqliteStore(tmp_path / "a.db")
    now_us = time.time_ns() // 1000
    for message in handled:
        assert store.claim(message, "test", now_us=now_us, lease_us=1) == Handled(), message
    with sqlite3.connect(tmp_path / "a.db") as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_message_of_a_process_that_was_killed_is_free_after_its_lease(
    start: Start, tmp_path: Path
) -> None:
    """And not before: it might be alive."""
    process = start("hold", "m")
    go(process)
    began_us = int(said(process))
    process.kill()
    process.wait()
    store = SqliteStore(tmp_path / "a.db")
    found = store.claim("m", "b", now_us=began_us + LEASE_US // 2, lease_us=1)
    assert isinstance(found, Running)
    assert store.claim("m", "b", now_us=began_us + LEASE_US, lease_us=1) == Claimed()


@pytest.mark.strace
def test_what_was_handled_is_synced(start: Start, tmp_path: Path) -> None:
    """A machine that loses its power remembers it. A claim alone costs no sync."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    prefix = (program, "-f", "-qq", "-e", "trace=fdatasync,fsync,write", "-o", str(trace))
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not attach here")
    process = start("handle", "m", prefix=prefix)
    go(process)
    for number in range(20):
        assert said(process) == f"m-{number}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    told, is_synced = 0, False
    for line in trace.read_text().splitlines():
        if "sync(" in line and line.endswith("= 0"):
            is_synced = True
        elif f'"m-{told}' in line:
            assert is_synced
            is_synced, told = False, told + 1
    assert told >= 20
