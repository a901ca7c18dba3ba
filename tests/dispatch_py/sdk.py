"""An application that the real SDK is in, as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from dispatcher.testing.ports import KeptPort
from dispatcher.testing.process import ServerProcess

_HERE = Path(__file__).parent
_STARTS_S = 60.0


class Application:
    """The application of `application.py`, as a process. It may be killed and started again, on the
    same port; `steps` go on."""

    def __init__(self, python: Path, directory: Path, server: ServerProcess, **more: str) -> None:
        """`more` is for its environment."""
        self._kept = KeptPort()
        self.port = self._kept.number
        self._python = python
        self._directory = directory
        self._more = more
        self.source = _HERE / "application.py"
        self.steps_file = directory / "steps"
        self.steps_file.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self.use(server)

    def use(self, server: ServerProcess) -> None:
        """Which server it dispatches to, from its next start on."""
        host, port = server.api
        self._api = f"http://{host}:{port}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, **more: str) -> Application:
        """Run it; returns when it answers."""
        environ = {
            key: value for key, value in os.environ.items() if not key.startswith("DISPATCH_")
        }
        environ |= {
            "DISPATCH_API_URL": self._api,
            "DISPATCH_API_KEY": "an application's",
            "DISPATCH_ENDPOINT_URL": self.url,
            "DISPATCH_ENDPOINT_ADDR": f"127.0.0.1:{self.port}",
            "STEPS": str(self.steps_file),
            **self._more,
            **more,
        }
        environ.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [self._python, self.source],
            cwd=self._directory,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=(self._directory / "application.log").open("ab"),
        )
        end = time.monotonic() + _STARTS_S
        while time.monotonic() < end:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise TimeoutError((self._directory / "application.log").read_text())

    def kill(self) -> None:
        """End it as a crash does. Idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Application:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ask(self, path: str, body: Any) -> Any:
        """Ask the application itself for something."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def dispatch(self, function: str, *arguments: Any) -> str:
        """Have it dispatch a call; returns the id."""
        number: str = self.ask(f"/start/{function}", arguments)["id"]
        return number

    @property
    def steps(self) -> list[str]:
        """Bodies of functions that ran, in order."""
        return self.steps_file.read_text().splitlines()
