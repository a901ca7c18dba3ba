"""The real server as a process of its own, for tests that kill it or look at how it ends.

```
with ServerProcess(tmp_path, WORKER="4") as server:     # ready when this returns
    host, port = server.listen
    ...
    server.kill()                                       # SIGKILL: a crash
with ServerProcess(tmp_path) as server:                 # the same logs again
    ...
```

Both listeners take free ports on loopback and both logs are in `directory`, unless settings say
otherwise. What it logs is read all the time, so that it never waits for us.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dispatcher.testing.forking import Forked, is_same_by_fork

Line = dict[str, Any]

_POLL_S = 0.005
_SERVER = ("-m", "dispatcher")


class ServerProcess:
    """A server that was started. `lines` are the events it logged so far, `stderr` the rest."""

    def __init__(
        self,
        directory: Path,
        prefix: Sequence[str] = (),
        timeout_s: float = 60.0,
        program: Sequence[str] = _SERVER,
        /,
        **settings: str,
    ) -> None:
        """Start it, without waiting.

        Args:
            directory: its working directory.
            prefix: a command to run it under, such as `("strace", "-f")`.
            timeout_s: for everything that is waited for.
            program: arguments of Python.
            settings: as in the environment.
        """
        self.lines: list[Line] = []
        self.torn: list[bytes] = []
        """Lines that are not whole: the last one of a process that was killed may be."""
        self.stderr = ""
        self._timeout_s = timeout_s
        self._is_wrapped = bool(prefix)
        self._process = _start(directory, prefix, program, _environment(settings))
        self._readers = [
            threading.Thread(target=read, daemon=True)
            for read in (self._read_stdout, self._read_stderr)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The server's process id; where it runs under `prefix`, it has to say so itself first."""
        if not self._is_wrapped:
            return self._process.pid
        pid: int = self.event("server.starting")["pid"]
        return pid

    @property
    def has_ended(self) -> bool:
        """Whether it is no more."""
        return self._process.poll() is not None

    @property
    def listen(self) -> tuple[str, int]:
        """Where callers connect."""
        return _address(self.event("server.ready")["listen"][0])

    @property
    def proxy(self) -> tuple[str, int]:
        """Where the forward proxy is, which needs PROXY_LISTEN."""
        return _address(self.event("server.ready")["proxy_listen"][0])

    @property
    def api(self) -> tuple[str, int]:
        """Where the API is."""
        return _address(self.event("server.ready")["api_listen"])

    @property
    def apis(self) -> list[tuple[str, int]]:
        """Where each node says what concerns it alone."""
        return [self.api]

    @property
    def desk(self) -> ServerProcess:
        """The process that has the API."""
        return self

    @property
    def is_silent(self) -> bool:
        """Whether nothing more will be logged: what it said is all there."""
        return not any(reader.is_alive() for reader in self._readers)

    def event(self, name: str) -> Line:
        """Wait for an event, and return the first of that name.

        Raises:
            TimeoutError: it did not come in time, or the process ended without it.
        """
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            ended = self.is_silent
            for line in self.events(name):
                return line
            if ended:
                break
            time.sleep(_POLL_S)
        raise TimeoutError(f"no {name}; logged: {self.lines}; stderr: {self.stderr}")

    def events(self, name: str) -> list[Line]:
        """Return the events of that name that were logged so far."""
        return [line for line in list(self.lines) if line["event"] == name]

    def wait(self) -> int:
        """Wait until it ends. Returns its exit code, negative for a signal."""
        code = self._process.wait(self._timeout_s)
        for reader in self._readers:
            reader.join(self._timeout_s)
        return code

    def stop(self) -> int:
        """Stop it in the orderly way. Returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it at once, as a crash does, with what it runs under, and with what it has started
        and left behind. Idempotent."""
        # Whose output is open lives, and so its group is still that of its number.
        if self._process.poll() is None or any(reader.is_alive() for reader in self._readers):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it; none when it has ended."""
        if self._process.poll() is None:
            os.kill(self.pid, number)

    def __enter__(self) -> Self:
        try:
            self.event("server.ready")
        except TimeoutError:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _read_stdout(self) -> None:
        assert self._process.stdout is not None  # it was asked for
        with self._process.stdout as pipe:
            for line in pipe:
                try:
                    self.lines.append(json.loads(line))
                except ValueError:
                    self.torn.append(line)

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None  # it was asked for
        with self._process.stderr as pipe:
            for line in pipe:
                self.stderr += line.decode("utf-8", "replace")


def _start(
    directory: Path, prefix: Sequence[str], program: Sequence[str], environ: Mapping[str, str]
) -> Forked | subprocess.Popen[bytes]:
    if not prefix and program is _SERVER and is_same_by_fork(environ):
        return Forked(directory, environ)
    return subprocess.Popen(
        [*prefix, sys.executable, *program],
        cwd=directory,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that a wrapper and the server can be killed as one
    )


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    loopback = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0", "LOG_FORMAT": "json"}
    # The package may be there without being installed.
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, **loopback, **settings}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
