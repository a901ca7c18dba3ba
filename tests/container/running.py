"""The server in a container, and the destination of its messages."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.container.podman import IMAGE, LIMITS, SEALED, Podman


class Destination:
    """Where messages go. `status` is what it answers, `hold` makes it wait before it does."""

    def __init__(self) -> None:
        self.status = 200
        self.arrived: list[tuple[str, int]] = []
        self.hold = threading.Event()
        self.hold.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def authority(self) -> str:
        """`host:port`, as a caller would write it."""
        return f"127.0.0.1:{self._server.server_port}"

    def statuses(self, number: str) -> list[int]:
        """What the attempts of a message were answered with, in their order."""
        return [status for found, status in list(self.arrived) if found == number]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                status = owner.status
                owner.arrived.append((self.headers["X-Dispatcher-Message-Id"], status))
                owner.hold.wait(30)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: podman's output is what is looked at."""

        return Handler


class Container:
    """The server, run as docker-compose.yml runs it, but for the network."""

    def __init__(self, podman: Podman, name: str) -> None:
        self._podman = podman
        self.name = name
        self.port = _free_port()
        settings = {
            "LISTEN": f"127.0.0.1:{self.port}",
            "API_LISTEN": f"127.0.0.1:{_free_port()}",
            "RETRY_DELAY": "200",
            "RETRY_MAX_DELAY": "500",
        }
        podman.run(
            *("run", "--detach", "--name", name, "--network", "host"),
            *("--restart", "unless-stopped", "--volume", f"{name}:/var/lib/dispatcher"),
            *SEALED,
            *LIMITS,
            # Timers for the health checks would need systemd: they are run by hand.
            *("--health-interval", "disable"),
            *(f"--env={key}={value}" for key, value in settings.items()),
            IMAGE,
        )

    def state(self) -> dict[str, Any]:
        """What podman knows of it."""
        found: list[dict[str, Any]] = json.loads(self._podman.run("inspect", self.name))
        return found[0]

    def pid(self) -> int:
        """The server's process, as it is numbered out here; 0 when it does not run."""
        return int(self.state()["State"]["Pid"])

    def is_healthy(self) -> bool:
        """Run the HEALTHCHECK of the image."""
        return self._podman.attempt("healthcheck", "run", self.name).returncode == 0

    def events(self, name: str) -> list[dict[str, Any]]:
        """Events of that name in its log."""
        lines = map(json.loads, self._podman.run("logs", self.name).splitlines())
        return [line for line in lines if line["event"] == name]

    def accept(self, destination: Destination) -> str:
        """Send a message, which must be accepted; return its id."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"X-Dispatcher-Origin-Host": destination.authority}
        connection.request("POST", "/orders", b"a body", headers)
        answer = connection.getresponse()
        assert answer.status == 202, answer.read()
        return answer.headers["X-Dispatcher-Message-Id"]

    def stop(self) -> int:
        """Stop it as `docker stop` does; return the exit code."""
        self._podman.run("stop", "--time", "20", self.name)
        return int(self.state()["State"]["ExitCode"])

    def start(self) -> None:
        """Start it again, with the same volume."""
        self._podman.run("start", self.name)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
