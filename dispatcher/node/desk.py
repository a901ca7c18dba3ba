"""What a node has once, in the process that has partition 0: the API, function calls, schedules,
the audit trail, backups, and what operators look at.

Its life is within that of partition 0, and a process may have several desks one after the other:

    made ─▶ listen ─▶ open ─▶ start ─▶ close, drain ─▶ leave ─▶ stop
                                   └─▶ abandon ──────▶ leave ─▶ stop

What belongs to the process (the pool, the partitions, the other processes) outlives it, and keeps
nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from socket import socket

from dispatcher.api.cluster import Cluster
from dispatcher.api.health import Health
from dispatcher.api.masking import Masking
from dispatcher.api.server import ApiServer
from dispatcher.audit.audit_log import AuditLog
from dispatcher.cluster.directory import Directory
from dispatcher.core.keys import Keyring
from dispatcher.functions.outside import Outside
from dispatcher.listening.unix import UnixPlace
from dispatcher.node import certificates, configs
from dispatcher.node.all_partitions import AllPartitions
from dispatcher.node.backup.making import Backups, Logs
from dispatcher.node.backup.of_streams import NoBackups
from dispatcher.node.desk_calls import make_calls
from dispatcher.node.desk_logs import DeskLogs
from dispatcher.node.disks import Disks
from dispatcher.node.log_names import TRANSACTION
from dispatcher.node.message_service import MessageService
from dispatcher.node.metrics import Metrics
from dispatcher.node.nodes_seen import NodesSeen
from dispatcher.node.notifying.notifier import Notifier
from dispatcher.node.outlook import Addresses, NodeOutlook
from dispatcher.node.processes_seen import ProcessesSeen
from dispatcher.queue.commit.stalls import Pace
from dispatcher.queue.partition import Partition
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog
from dispatcher.txlog.files import FileLog


class Desk:
    """The desk of a node, over the messages of its process."""

    def __init__(
        self,
        messages: MessageService,
        first: Partition,
        logs: DeskLogs,
        notifier: Notifier,
        *,
        sockets: Sequence[socket],
        health: Callable[[], Health],
        addresses: Callable[[], Addresses],
        restarts: Callable[[], int] | None = None,
        directory: Directory | None = None,
        behind: UnixPlace | None = None,
    ) -> None:
        """`first` is partition 0, not open yet, and `notifier` the process's. `directory` says
        where partitions are that move. The API listens on `sockets`, where there are some. `health`
        is what `/readyz` says, `addresses` where callers and operators find the node, and
        `restarts` as `Server` has it. Where the API is `behind` the fronts of nodes it listens
        there and nowhere else."""
        self._behind = behind
        self._messages = messages
        self._first = first
        self._directory = directory
        self._logs = logs
        self._notifier = notifier
        self._supervisor = Supervisor(first.observer.died)
        settings = messages.settings
        self._all = AllPartitions(messages, first, self._supervisor, directory)
        self.functions = make_calls(messages, first, logs)
        self._disks = disks = Disks(logs.disks)
        self.trail = self._make_trail()
        self._metrics = Metrics(
            messages.whole,
            messages.pool,
            messages.listener,
            functions=self.functions.overview,
            operators=lambda: self.api.audit.counts,
            certificates=messages.certificates,
            disks=disks,
            restarts=restarts,
            leases=None if messages.cluster is None else messages.cluster.leases,
        )
        self._cluster = self._make_cluster()
        self.outlook = NodeOutlook(
            messages.whole,
            messages.listener,
            disks,
            supervisor=self._supervisor,
            retention=configs.of_retention(settings),
            calls=self.functions.overview,
            health=health,
            addresses=addresses,
            audit_unkept=lambda: self.trail.unkept,
            others=self._all.others,
            cluster=self._cluster,
        )
        self._health = health
        self.api = self._make_api(sockets)

    # Its life.

    async def listen(self) -> None:
        """Answer operators; until the node has begun they hear no more than that.

        Raises:
            PortTaken, ConfigError: as `ApiServer.start`.
        """
        await self.api.start()

    async def open(self, owner: str, epoch: int) -> None:
        """Read its logs, and what partition 0 has of calls: after that was opened, and before it is
        started.

        Raises:
            LogError: as the results' log says. Call `stop`.
        """
        self._all.open(epoch)
        trail = asyncio.ensure_future(self.trail.open(owner, epoch))
        try:
            await self.functions.open(owner, epoch)
            await trail
        finally:
            if not trail.done():
                trail.cancel()
                await asyncio.wait([trail])

    async def start(self) -> None:
        """Begin to run calls, to fire schedules and to watch: after partition 0 was started."""
        self._all.start()
        self.functions.start()
        self.trail.start()
        if self._directory is None:
            await self.outlook.start()
        else:  # messages need not wait until the other nodes have said what they count
            self._supervisor.spawn("history", self.outlook.start())
        self._notifier.watch(
            self._supervisor,
            space=lambda: self._disks.space.get(TRANSACTION),
            elsewhere=self._all.others,
        )

    def close(self) -> None:
        """Start no more runs, fire no more schedules. Idempotent."""
        self.functions.close()

    async def drain(self, timeout_s: float) -> bool:
        """Close, and wait until no run is under way, and for jobs; False when time ran out first
        for runs. Jobs are broken off then, and say so."""
        self.close()
        has_drained, _ = await asyncio.gather(
            self.functions.drain(timeout_s), self.api.jobs.stop(timeout_s)
        )
        return has_drained

    async def leave(self) -> None:
        """Answer operators no more. Idempotent."""
        await self.api.stop()

    async def stop(self) -> None:
        """Write down what has ended, close its logs, and leave nothing behind in the process: after
        `leave`, and before partition 0 is stopped. Idempotent."""
        self.close()
        self._all.leave()
        await self.functions.stop()
        await self.trail.stop()
        await self._supervisor.stop()

    def abandon(self) -> None:
        """Partition 0 is another process's now, or a log does not answer: at once, drop the runs
        that are under way, and tell who waits that nobody knows. `stop` follows, where it can.
        Idempotent."""
        self._all.leave()
        self.functions.abandon()

    # What the process asks of it.

    def health(self) -> Health:
        """That of the node: messages are accepted while one of its processes does."""
        health = self._health()
        if health.is_begun and not health.is_ready and self._all.accept_elsewhere:
            return Health()
        return health

    def check_free(self) -> None:
        """Raise `LogLocked` where another process has the log of results or of the audit."""
        self._logs.check_free()

    @property
    def in_flight(self) -> int:
        """Runs under way."""
        return self.functions.runner.in_flight

    @property
    def pace(self) -> Pace:
        """How fast the disk takes results."""
        return self.functions.results.pace

    def put_into_force(self) -> None:
        """There are other rules."""
        self.functions.turns.rules_changed()

    @property
    def batches(self) -> int:
        """Batches that its logs have stored: while this grows, their disks move."""
        return self.functions.results.batches + self.trail.batches

    # How it is put together.

    def _make_cluster(self) -> Cluster:
        messages, now_us = self._messages, self._messages.steady.wall_us
        others = self._all.others
        if self._directory is not None and others is not None:
            return NodesSeen(self._directory, messages.whole, others, now_us=now_us)
        return ProcessesSeen(messages.whole, messages.assignment, others=others, now_us=now_us)

    def _make_trail(self) -> AuditLog:
        return AuditLog(
            self._logs.make_audit,
            exists=self._logs.has_audit,
            max_bytes=self._logs.audit_max_bytes,
            supervisor=self._supervisor,
            told=self._messages.events,
        )

    def _make_backups(self) -> Backups | NoBackups:
        messages, elsewhere = self._messages, self._all.others
        if self._directory is not None:
            return NoBackups()
        first, *others = messages.on_disk
        logs = Logs(
            first.log,
            first.dead_log,
            (messages.settings.transaction_log, messages.settings.dead_letter),
            results=lambda: _as_files(self.functions.results.log),
            audit=lambda: _as_files(self.trail.log),
            others={one.number: (one.log, one.dead_log) for one in others},
        )
        return Backups(
            logs,
            clock=messages.clock,
            events=messages.events,
            supervisor=self._supervisor,
            processes=[] if elsewhere is None else elsewhere.copying,
        )

    def _make_api(self, sockets: Sequence[socket]) -> ApiServer:
        messages, functions, every = self._messages, self.functions, self._all
        settings = messages.settings
        return ApiServer(
            *configs.host_and_port(settings.api_listen),
            Keyring(settings.api_keys),
            health=self.health,
            metrics=self.metrics_text,
            outlook=self.outlook,
            cluster=self._cluster,
            backups=self._make_backups(),
            keeper=self.trail,
            admin=every.admin,
            events=messages.events,
            max_connections=messages.connections.operators,
            carrier=every.carrier,
            replayer=every.replayer,
            functions=Outside(
                functions,
                now_us=self._first.clock.wall_us,
                retention_us=settings.result_retention_ms * 1000,
            ),
            sessions=functions.bridge,
            schedules=functions.schedules,
            max_body=settings.max_body_bytes,
            masking=Masking.of(settings.mask_headers),
            tls=None if self._behind else messages.certificates.of(certificates.API),
            unix=self._behind or configs.unix_place(settings, settings.api_listen),
            sockets=sockets,
            is_fronted=self._behind is not None,
            is_here=self._first.tenure.holds,
            pace=messages.whole.pace,
        )

    async def metrics_text(self) -> str:
        """What `/metrics` answers."""
        text = await self._metrics.text_of_process()
        others = self._all.others
        if others is None or self._directory is not None:  # each node tells its own
            return text
        return await others.metrics(text, self._messages.incarnation)


def _as_files(log: TransactionLog | None) -> FileLog | None:
    """A log that can be backed up, where it is open."""
    return log if isinstance(log, FileLog) else None
