"""A cluster on loopback: NATS servers and nodes as processes, and what can happen to them.

Only the command line and the settings are used, as operators have them. The machine of a node is
the node and the NATS server of the same number. Without NATS servers there is one node, whose logs
are files.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from dispatcher.cluster.nats_store import BUCKET
from dispatcher.testing.nats import NatsServer, NatsServers, servers
from dispatcher.testing.ports import KeptPort
from dispatcher.testing.process import Line, ServerProcess
from tests.cluster.ledger import Ledger, Tenure
from tests.cluster.load import Address, Caller, send_until_accepted
from tests.cluster.sink import NODE_HEADER
from tests.cluster.waiting import PATIENCE_S

PARTITIONS: Final = 16
_KEY: Final = "the-same-on-every-node-of-these-tests"
_RULES: Final = '[[destination]]\nmatch = "*"\nheaders = {{{header} = "{node}"}}\n'
_KEY_FILE: Final = "signing.pem"


class Node:
    """One node; it listens on the same ports at every start."""

    def __init__(self, directory: Path, number: int, settings: Mapping[str, str]) -> None:
        directory.mkdir(parents=True)
        self.name = f"n{number}"
        self.number = number
        self._directory = directory
        self._kept = [KeptPort() for _ in range(3)]
        self.listen, self.api, self.links = (("127.0.0.1", one.number) for one in self._kept)
        rules = directory / "rules.toml"
        rules.write_text(_RULES.format(header=NODE_HEADER, node=self.name))
        self.settings = {
            "LISTEN": _shown(self.listen),
            "API_LISTEN": _shown(self.api),
            "DISPATCHER_CONFIG": str(rules),
            "LOG_LEVEL": "info",
            "DRAIN_TIMEOUT": "2s",
            **settings,
        }
        self.server: ServerProcess | None = None
        self.is_still = False
        self._former: list[ServerProcess] = []

    def start(self) -> None:
        """Start it; returns at once."""
        if self.server is not None:
            self._former.append(self.server)
        self.server = ServerProcess(self._directory, **self.settings)

    async def ready(self) -> None:
        """Wait until it accepts messages."""
        assert self.server is not None
        await asyncio.to_thread(self.server.event, "server.ready")
        await until(self._is_ready, f"{self.name} is ready", self.told)

    async def _is_ready(self) -> bool:
        return await asyncio.to_thread(self.status, "/readyz") == 200

    def kill(self) -> None:
        """As a crash does. Idempotent."""
        if self.server is not None:
            self.server.kill()
        self.is_still = False

    async def stop(self) -> int:
        """In the orderly way; its exit code."""
        assert self.server is not None
        return await asyncio.to_thread(self.server.stop)

    def stand_still(self, *, is_still: bool = True) -> None:
        """Stop the process, as a hypervisor would, or have it go on."""
        assert self.server is not None
        self.server.signal(signal.SIGSTOP if is_still else signal.SIGCONT)
        self.is_still = is_still

    @property
    def runs(self) -> bool:
        """Whether there is a process of it."""
        return self.server is not None and not self.server.has_ended

    def events(self, name: str) -> list[Line]:
        """Events of that name, of earlier starts too."""
        every = [*self._former, *([] if self.server is None else [self.server])]
        return [line for server in every for line in server.events(name)]

    def status(self, path: str) -> int:
        """What its API answers; 0: nothing."""
        connection = http.client.HTTPConnection(*self.api, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path)
                return connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return 0

    def told(self) -> str:
        """The end of what it has logged, for the message of a failure."""
        if self.server is None:
            return f"{self.name} was not started"
        lines = [_short(line) for line in self.server.lines[-40:]]
        return "\n".join([f"--- {self.name}", *lines, self.server.stderr[-2000:]])


class Site:
    """All of it. Use `site`, which ends what it has started."""

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int,
        nats: NatsServers | None,
        disk: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.nats = nats
        self.disk = disk
        if nats is not None and disk is not None:
            last = nats.servers[-1].directory
            last.mkdir(parents=True)
            (last / "store").symlink_to(disk)
        self.nodes = [
            Node(directory / f"n{one}", one, self._settings(directory, one) | dict(settings or {}))
            for one in range(nodes)
        ]
        for one in self.nodes if nats is not None else ():
            one.settings |= {
                "CLUSTER_LISTEN": _shown(one.links),
                "CLUSTER_ADVERTISE": _shown(one.links),
            }

    def _settings(self, directory: Path, number: int) -> dict[str, str]:
        if self.nats is None:
            return {}
        own_first = self.nats.rotated(number)
        monitoring = [f"http://127.0.0.1:{one.monitoring_port}" for one in own_first]
        return {
            "CLUSTER": ",".join(one.url for one in own_first),
            "CLUSTER_MONITORING": ",".join(monitoring),
            "CLUSTER_KEY": _KEY,
            "PARTITIONS": str(PARTITIONS),
            "NODE": f"n{number}",
            "SIGNING_KEY": str(directory / _KEY_FILE),
        }

    async def _serves(self) -> bool:
        servers = self.nats.servers if self.nats is not None else ()
        return all([await asyncio.to_thread(one.is_ready) for one in servers])

    @property
    def addresses(self) -> list[Address]:
        """Where callers send to."""
        return [one.listen for one in self.nodes]

    async def whole(self) -> None:
        """Have everything run again, and wait until every node accepts messages."""
        if self.nats is not None:
            for one in self.nats.servers:
                one.hang(hangs=False)
                if one.process is None:
                    one.start()
            await until(self._serves, "the NATS servers are ready", self.told)
        for node in self.nodes:
            if node.is_still:
                node.stand_still(is_still=False)
            if not node.runs:
                node.start()
        for node in self.nodes:
            await node.ready()

    async def reached(self, ledger: Ledger, origins: Sequence[str]) -> None:
        """Wait until every partition takes messages, and delivers them.

        Raises:
            TimeoutError: one does not.
        """
        sent = []
        with contextlib.closing(Caller(self.addresses, 0)) as caller:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    for origin in origins:
                        one = ledger.begin(10, is_keyed=True)
                        sent.append(one.target)
                        await send_until_accepted(ledger, caller, one, origin)
            except TimeoutError as error:
                raise TimeoutError(f"{origin} takes no message\n{self.told()}") from error
        await delivered(ledger, self.told)

    def victim(self, ledger: Ledger) -> Node:
        """The node that has delivered for most partitions of late."""
        ((name, _),) = ledger.owners(time.monotonic() - 3).most_common(1)
        return next(one for one in self.nodes if one.name == name)

    # NATS

    def nats_of(self, node: Node) -> NatsServer:
        """The NATS server of a node's machine."""
        assert self.nats is not None
        return self.nats.servers[node.number]

    def leader(self) -> NatsServer:
        """The NATS server that leads the records of who owns what."""
        assert self.nats is not None
        return self.nats.leader(BUCKET)

    def kill_machine(self, node: Node) -> None:
        """A node and its NATS server at once."""
        self.nats_of(node).stop()
        node.kill()

    def fill_disk(self, *, is_full: bool) -> None:
        """Leave nothing of the last NATS server's disk, or have it as it was."""
        assert self.disk is not None
        filler = self.disk / "filler"
        if not is_full:
            filler.unlink()
            return
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass

    def kill_all(self) -> None:
        """The end of all that there is, as when the power fails."""
        if self.nats is not None:
            self.nats.stop()
        for node in self.nodes:
            node.kill()

    # What they say

    def tenures(self) -> list[Tenure]:
        """When which node has opened which partition."""
        ahead_s = time.time() - time.monotonic()
        return [
            Tenure(
                line["partition"],
                node.name,
                line["epoch"],
                datetime.fromisoformat(line["timestamp"]).timestamp() - ahead_s,
            )
            for node in self.nodes
            for line in node.events("partition.opened")
        ]

    def takeovers(self) -> int:
        """How many partitions were claimed that another node did not hand over."""
        claims = [line for node in self.nodes for line in node.events("partition.claimed")]
        return sum(bool(line["former"]) for line in claims)

    def told(self) -> str:
        """The end of all logs."""
        return "\n".join(node.told() for node in self.nodes)


@contextlib.asynccontextmanager
async def site(
    directory: Path,
    *,
    nodes: int = 3,
    is_cluster: bool = True,
    disk: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    """A cluster whose nodes are ready, which ends with this. The last NATS server stores on `disk`,
    if there is one."""
    # What streams may take is reserved, and a small disk would have no room for that.
    nats = servers(directory / "nats", count=3, most_bytes=1 << 40) if is_cluster else None
    await asyncio.to_thread(_make_key, directory / _KEY_FILE)
    made = Site(directory, nodes=nodes, nats=nats, disk=disk, settings=settings)
    try:
        await made.whole()
        yield made
    finally:
        await asyncio.to_thread(made.kill_all)


async def delivered(
    ledger: Ledger, told: Callable[[], str] = lambda: "", *, patience_s: float = PATIENCE_S
) -> None:
    """Wait until all that was accepted has come.

    Raises:
        TimeoutError: it does not come in time; says what is missing, and what nodes logged.
    """

    async def are_there() -> bool:
        return not ledger.missing()

    try:
        await until(are_there, "all that was accepted has come", told, patience_s=patience_s)
    except TimeoutError as error:
        missing = sorted(ledger.missing())
        raise TimeoutError(f"{len(missing)} did not come, such as {missing[:5]}; {error}") from None


async def until(
    holds: Callable[[], Awaitable[bool]],
    what: str,
    told: Callable[[], str] = lambda: "",
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not.
    """
    deadline_s = time.monotonic() + patience_s
    while not await holds():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {patience_s:g} s: {what}\n{told()}")
        await asyncio.sleep(0.05)


def _make_key(path: Path) -> None:
    """Make the key that all nodes have a copy of, as an operator does."""
    subprocess.run(
        [sys.executable, "-m", "dispatcher", "keys", "show"],
        env={**os.environ, "SIGNING_KEY": str(path)},
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )


def _shown(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _short(line: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in line.items())[:300]
