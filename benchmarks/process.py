"""Processes that a script starts, and stops whatever happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import procfs

HOST = "127.0.0.1"


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def find_program(name: str) -> str:
    """Where a program is; Debian keeps nginx outside of most people's PATH.

    Raises:
        SystemExit: it is not installed.
    """
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")
    if path is None:
        raise SystemExit(f"{name} is not installed: apt-get install {name}")
    return path


@contextlib.contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A directory of this run on a real disk, removed at the end.

    Raises:
        SystemExit: `parent` is in memory, where a sync costs nothing.
    """
    procfs.require_real_disk(parent)
    directory = Path(tempfile.mkdtemp(prefix="dispatcher-benchmark-", dir=parent))
    try:
        directory.chmod(0o755)  # nginx's worker is another user when root starts it
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    output: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in a file; it is asked to end afterwards, and killed after 30 s."""
    with output.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=directory,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], timeout_s: float = 30) -> None:
    """Ask a process to end (SIGTERM), wait, and kill it if it does not."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes], timeout_s: float = 10) -> None:
    """Wait until somebody listens.

    Raises:
        SystemExit: the process ended before, or the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.002)
    raise SystemExit(f"nothing listens on port {port}; process {process.args!r} {process.poll()=}")
