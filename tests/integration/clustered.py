"""Nodes of a cluster in the process of the tests, over logs and leases in memory."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from dispatcher.cluster.holder import Ends
from dispatcher.cluster.member import Member
from dispatcher.cluster.times import Times
from dispatcher.core.clock import SystemClock
from dispatcher.node.clustered import Clustered
from dispatcher.node.clustering.holder import NodeHolder
from dispatcher.node.desk_logs import DeskLogs
from dispatcher.node.peer_log import PeerLog
from dispatcher.node.server import Server
from dispatcher.peers.gate import Gate
from dispatcher.queue.ports import LogName
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.testing.destination import FakeDestination
from dispatcher.testing.leases import Leases, LeasesLink
from dispatcher.txlog.memory import MemoryLog, MemoryStore

TIMES = Times(settle_s=0.3, poll_s=0.2)
"""Short where nothing depends on how fast this machine is: leases last as long as they do."""


@dataclass
class Shared:
    """What all nodes of a cluster have: the store of leases, and logs by their name."""

    partitions: int = 4
    leases: Leases = field(default_factory=Leases)
    stores: dict[str, MemoryStore] = field(default_factory=dict)

    def open(self, name: str) -> MemoryLog:
        """A log on what is stored under a name."""
        return MemoryLog(self.stores.setdefault(name, MemoryStore()))


@dataclass(frozen=True)
class _Logs:
    log: MemoryLog
    dead_log: MemoryLog
    names: Mapping[LogName, str]


class MemoryLogs:
    """Implements `clustered.Logs`; `made` are those of this node, by their name."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.made: dict[str, MemoryLog] = {}

    def of(self, number: int, ends: Ends) -> _Logs:
        names = {LogName.TRANSACTION: f"t{number}", LogName.DEAD_LETTER: f"d{number}"}
        log, dead_log = (self._make(name) for name in names.values())
        return _Logs(log, dead_log, names)

    def desk(self, ends: Ends) -> DeskLogs:
        return DeskLogs(
            make_results=lambda: self._make("results"),
            has_results=True,
            results_place="results",
            make_audit=lambda: self._make("audit"),
            has_audit=True,
            audit_max_bytes=1 << 20,
            check_free=lambda: None,
            disks={},
        )

    def _make(self, name: str) -> MemoryLog:
        self.made[name] = self._shared.open(name)
        return self.made[name]


class Happened:
    """What became of a member and its partitions (`cluster.observer.Observer`): names of what was
    told, with the partition."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def partition_claimed(self, partition: int, epoch: int, former: str) -> None:
        self.told.append(("claimed", partition, former))

    def partition_opened(self, partition: int, epoch: int) -> None:
        self.told.append(("opened", partition))

    def partition_lost(self, partition: int, owner: str) -> None:
        self.told.append(("lost", partition, owner))

    def partition_in_doubt(self, partition: int, error: Exception) -> None:
        self.told.append(("in doubt", partition, type(error)))

    def partition_waits(self, partition: int, error: Exception) -> None:
        self.told.append(("waits", partition, error))

    def partition_failed(self, partition: int, error: Exception) -> None:
        self.told.append(("failed", partition, error))

    def partition_released(self, partition: int) -> None:
        self.told.append(("released", partition))

    def number_taken(self, node: str) -> None:
        self.told.append(("number taken", node))

    def store_away(self, error: Exception) -> None:
        self.told.append(("store away",))

    def store_back(self, after_s: float) -> None:
        self.told.append(("store back",))


class Node:
    """One node, which may be started once."""

    def __init__(
        self, name: str, directory: Path, shared: Shared, session: aiohttp.ClientSession
    ) -> None:
        self.name = name
        self.lines: list[dict[str, Any]] = []
        self.link = LeasesLink(shared.leases)
        self.logs = MemoryLogs(shared)
        self.happened = Happened()
        self._shared = shared
        self._session = session
        log = open_log(
            lambda line: self.lines.append(json.loads(line)), level="info", format="json"
        )
        self._events = Events(log)
        self._settings = Settings.load(
            {
                "LISTEN": "127.0.0.1:0",
                "API_LISTEN": "127.0.0.1:0",
                "TRANSACTION_LOG": str(directory / name / "transaction.log"),
                "DEAD_LETTER": str(directory / name / "deadletter.log"),
                "SIGNING_KEY": str(directory / "signing.pem"),
                "RETRY_LIMIT": "1",
                "RETRY_DELAY": "10m",
            }
        )
        self._settings.transaction_log.mkdir(parents=True)
        self.member: Member
        self.server: Server

    async def join(self) -> None:
        """Be heard of by the others."""
        self._gate = gate = Gate(b"the key of the cluster", PeerLog(self._events))
        await gate.listen("127.0.0.1", 0)
        self._holder = holder = NodeHolder()
        self._nonce = nonce = random.getrandbits(63)
        self.member = Member(
            self.link,
            holder,
            self.happened,
            lambda name, error: self._events.task_died(task=name, exc_info=error),
            node=self.name,
            address=f"127.0.0.1:{gate.port}",
            partitions=self._shared.partitions,
            nonce=nonce,
            clock=SystemClock(),
            random=random.Random(),
            times=TIMES,
        )
        await self.member.start()

    async def serve(self) -> None:
        """Begin to serve."""
        cluster = Clustered(
            number=self.member.number,
            nonce=self._nonce,
            spread=self._shared.partitions,
            directory=self.member.directory,
            member=self.member,
            logs=self.logs,
            gate=self._gate,
        )
        self.server = Server(self._settings, self._events, cluster=cluster)
        self._holder.serve(self.server)
        await self.server.start()

    async def stop(self) -> None:
        """As SIGTERM has it."""
        assert await self.server.stop(5) == 0
        await self.member.stop()

    @property
    def open(self) -> list[int]:
        """The partitions that it has."""
        return [one.config.partition for one in self.server.messages.partitions]

    @property
    def ready(self) -> dict[str, Any]:
        """What it said when it was."""
        return next(line for line in self.lines if line["event"] == "server.ready")

    async def post(
        self, to: FakeDestination, *, body: bytes = b"x", **options: str
    ) -> aiohttp.ClientResponse:
        """Send a message, and return the answer, read."""
        headers = {
            f"X-Dispatcher-{name.replace('_', '-').title()}": value
            for name, value in {"origin_host": to.authority, **options}.items()
        }
        url = f"http://{self.ready['listen'][0]}/"
        async with self._session.post(url, headers=headers, data=body) as answered:
            await answered.read()
            return answered

    async def accepted(self, to: FakeDestination, *, body: bytes = b"x", **options: str) -> str:
        """Send a message that is accepted; its id."""
        answered = await self.post(to, body=body, **options)
        assert answered.status == 202, await answered.text()
        return answered.headers["X-Dispatcher-Message-Id"]

    async def api(self, path: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
        """Ask the API; the status, and what it says."""
        url = f"http://{self.ready['api_listen']}{path}"
        async with self._session.request(method, url, json=body) as answered:
            text = await answered.text()
            return answered.status, json.loads(text) if text[:1] in "{[" else text


@asynccontextmanager
async def nodes(directory: Path, *names: str, shared: Shared | None = None) -> AsyncIterator[Any]:
    """Nodes that have started and have all partitions between them; those are stopped that are not
    yet."""
    shared = shared or Shared()
    async with aiohttp.ClientSession() as session:
        made = [Node(name, directory, shared, session) for name in names]
        for node in made:
            await node.join()
        await asyncio.gather(*(node.serve() for node in made))
        await owned(shared.partitions, *made)
        yield made
        for node in made:
            await node.stop()
            assert not [line for line in node.lines if line["event"] == "task.died"], node.lines


async def owned(partitions: int, *among: Node) -> None:
    """Wait until these nodes have all partitions, and each knows who has them."""
    try:
        async with asyncio.timeout(30):
            while not _is_owned(partitions, among):  # noqa: ASYNC110  # what it looks at changes
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        told = [(node, node.open, node.happened.told, node.member.directory) for node in among]
        raise AssertionError(f"not all partitions are owned: {told}") from error


def _is_owned(partitions: int, among: tuple[Node, ...]) -> bool:
    has_all = sorted(one for node in among for one in node.open) == [*range(partitions)]
    return has_all and all(
        node.member.directory.process_of(number) is not None
        for node in among
        for number in range(partitions)
    )
