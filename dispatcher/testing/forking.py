"""Servers by fork: a process that has imported the server once makes a copy of itself for each.

A start takes a second of processor time, nearly all of it for imports, and the tests start hundreds
of servers. Such a server is `python -m dispatcher` in all that can be seen of it but its command
line; tests of the start itself run the command.

    tests ──(job, stdout, stderr, status)──▶ forker ──fork──▶ watcher ──fork──▶ server
                     its status, at the end ◀──────────────────────┘           │
                     its pid ◀────────────────────────────────────────────────┘

The forker has one thread, so that a fork copies nothing half done. This module, when it is run, is
the forker; it ends when the process that started it does.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final

_NUMBER_BYTES: Final = 4
_PATH: Final = "PYTHONPATH"
_READ_BY_IMPORTS: Final = ("PYTHON", "SSL_", "LD_", "AIOHTTP_", "MALLOC_")
_BEFORE: Final = dict(os.environ)
_HANDING: Final = threading.Lock()


class Forked:
    """A server that was started by fork, with what `subprocess.Popen` has of it."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        """Start it, in a session of its own."""
        out, its_out = os.pipe()
        err, its_err = os.pipe()
        self._status, its_status = os.pipe()
        job = json.dumps({"directory": str(directory), "environ": dict(environ)}).encode()
        handed = (its_out, its_err, its_status)
        try:
            _hand(job, handed)
        finally:
            for one in handed:
                os.close(one)
        self.stdout: IO[bytes] = open(out, "rb")  # noqa: SIM115  # closed by who reads it
        self.stderr: IO[bytes] = open(err, "rb")  # noqa: SIM115
        self._code: int | None = None
        self.pid = self._said()

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float) -> int:
        """Wait until it ends. Returns its exit code, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it did not end in `timeout` seconds.
        """
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("dispatcher", timeout)
        return code

    def _look(self, timeout_s: float) -> int | None:
        if self._code is None and select.select([self._status], [], [], timeout_s)[0]:
            self._code = os.waitstatus_to_exitcode(self._said())
            os.close(self._status)
        return self._code

    def _said(self) -> int:
        said = os.read(self._status, _NUMBER_BYTES)
        if not said:
            raise ChildProcessError("what forks the servers of the tests has ended")
        return int.from_bytes(said, "little")


def is_same_by_fork(environ: Mapping[str, str]) -> bool:
    """Whether a server with this environment may be forked: what imports read of it has to be as
    it was when they were made."""
    if not sys.platform.startswith("linux"):
        return False
    names = [x for x in {*environ, *_BEFORE} if x.startswith(_READ_BY_IMPORTS) and x != _PATH]
    return all(environ.get(name) == _BEFORE.get(name) for name in names)


def _hand(job: bytes, handed: Sequence[int]) -> None:
    """Give a job to the forker. Tests start several servers at once, in threads: its parts have to
    follow each other."""
    with _HANDING:
        forker = _forker()
        socket.send_fds(forker, [len(job).to_bytes(_NUMBER_BYTES, "little")], handed)
        forker.sendall(job)


@lru_cache(maxsize=1)
def _forker() -> socket.socket:
    ours, its = socket.socketpair()
    with its:
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(its.fileno())],
            pass_fds=[its.fileno()],
            env=_BEFORE | {_PATH: str(Path(__file__).parents[2])},
            stdin=subprocess.DEVNULL,
        )
    return ours


def _fork_for_ever(jobs: socket.socket) -> None:
    """Start a server for each job; in the server, return its job."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # watchers are waited for by nobody
    while True:
        size, handed, _, _ = socket.recv_fds(jobs, _NUMBER_BYTES, 3)
        if not size:
            os._exit(0)
        job = json.loads(_exactly(jobs, int.from_bytes(size, "little")))
        if os.fork() == 0:
            jobs.close()
            return _watch(job, *handed)
        for one in handed:
            os.close(one)


def _watch(job: Any, out: int, err: int, status: int) -> None:
    """Start the server and say how it ends; in the server, return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        # By itself, and now: who knows the number kills the session.
        os.write(status, os.getpid().to_bytes(_NUMBER_BYTES, "little"))
        for one, number in ((out, 1), (err, 2)):
            os.dup2(one, number)
            os.close(one)
        os.close(status)
        os.chdir(job["directory"])
        os.environ.clear()
        os.environ.update(job["environ"])
        return
    os.close(out)
    os.close(err)
    os.setsid()
    ended = os.waitpid(pid, 0)[1]
    with suppress(BrokenPipeError):
        os.write(status, ended.to_bytes(_NUMBER_BYTES, "little"))
    os._exit(0)


def _exactly(source: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        read += source.recv(size - len(read)) or sys.exit("a job was cut off")
    return read


if __name__ == "__main__":
    # All that a server imports.
    import dispatcher.cli.serve
    import dispatcher.node.process  # noqa: F401
    from dispatcher.cli.main import main

    gc.freeze()
    _fork_for_ever(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = ["dispatcher"]
    main(default=("serve",))
