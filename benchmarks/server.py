"""The dispatcher under test: started as an operator starts it, watched through its own API."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import procfs
from benchmarks.process import HOST, free_port, running

_ROOT = Path(__file__).resolve().parent.parent
_WAITING = ("ready", "scheduled", "in_flight")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a dispatcher keeps its logs and listens; several processes may use it in turn."""

    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)

    @property
    def log(self) -> Path:
        """The directory of the transaction log."""
        return self.directory / "transaction.log"

    def environment(self) -> dict[str, str]:
        """The settings, on top of the environment of this script. Modules are compiled once, as in
        an installation, also where the environment would have each start do so."""
        return os.environ | {
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPATH": str(_ROOT),
            "LISTEN": f"{HOST}:{self.port}",
            "API_LISTEN": f"{HOST}:{self.api_port}",
            "TRANSACTION_LOG": str(self.log),
            "DEAD_LETTER": str(self.directory / "deadletter.log"),
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "warning",
            **self.settings,
        }


class Dispatcher:
    """One running process. `pid` is its own where a wrapper has started it."""

    def __init__(self, site: Site, process: subprocess.Popen[bytes], *, wrapped: bool) -> None:
        self.site = site
        self.process = process
        self._await_ready(timeout_s=300)
        self.ready_at = time.monotonic()
        self.pid = procfs.children(process.pid)[0] if wrapped else process.pid

    def metrics(self) -> dict[str, float]:
        """Every sample of `/metrics` under its name with its labels."""
        status, body = self.get("/metrics")
        if status != 200:
            raise SystemExit(f"/metrics answered {status}")
        return parse_metrics(body.decode())

    def waiting(self) -> int:
        """Messages that are accepted and not settled."""
        metrics = self.metrics()
        return sum(int(metrics[f'dispatcher_messages{{state="{state}"}}']) for state in _WAITING)

    def accepted(self) -> int:
        """Messages accepted since the start of this process."""
        return int(self.metrics()["dispatcher_messages_accepted_total"])

    def delivered(self) -> int:
        """Messages delivered since the start of this process."""
        return int(self.metrics()["dispatcher_messages_delivered_total"])

    def drain(self, timeout_s: float) -> float:
        """Wait until nothing waits; return the seconds it took.

        Raises:
            SystemExit: something still waits when the time is over.
        """
        started = time.monotonic()
        while self.waiting():
            if time.monotonic() - started > timeout_s:
                raise SystemExit(f"{self.waiting()} messages still wait after {timeout_s} s")
            time.sleep(0.01)
        return time.monotonic() - started

    def _await_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get("/readyz")[0] == 200:
                    return
            time.sleep(0.002)
        output = (self.site.directory / "output.log").read_text(errors="replace")
        raise SystemExit(f"the dispatcher did not get ready:\n{output[-4000:]}")

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of the answer of the API."""
        connection = http.client.HTTPConnection(HOST, self.site.api_port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextlib.contextmanager
def dispatcher(
    site: Site, *, wrapper: Sequence[str] = (), module: Sequence[str] = ("dispatcher",)
) -> Iterator[Dispatcher]:
    """A dispatcher that is ready, and is stopped with SIGTERM afterwards.

    `wrapper` is a command that runs the dispatcher's as its child, such as `strace -f`; `module`
    is what is started, with its arguments.
    """
    site.directory.mkdir(parents=True, exist_ok=True)
    command = [*wrapper, sys.executable, "-m", *module]
    output = site.directory / "output.log"
    with running(command, output=output, environment=site.environment()) as process:
        server = Dispatcher(site, process, wrapped=bool(wrapper))
        try:
            yield server
        finally:
            if wrapper and process.poll() is None:
                # The signal goes to the dispatcher itself: its wrapper ends when it does.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server.pid, 15)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)


def parse_metrics(text: str) -> dict[str, float]:
    """Read the Prometheus text format, as far as samples without a timestamp go."""
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    return samples
