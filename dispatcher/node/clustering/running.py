"""The process of a node that is a member of a cluster: from its settings to a server that runs.

    directory ─▶ NATS ─▶ what is common ─▶ the port where nodes meet ─▶ a number ─▶ the server

Whoever waits for NATS can be told to stop: nothing was begun by then.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dispatcher.apart import apart
from dispatcher.cluster.member import Member
from dispatcher.cluster.store import LeaseStore
from dispatcher.core.clock import SystemClock
from dispatcher.core.rules.table import Rules
from dispatcher.errors import ConfigError, LogBusy
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.node.clustered import Clustered
from dispatcher.node.clustering.anteroom import Anteroom
from dispatcher.node.clustering.config import ClusterConfig
from dispatcher.node.clustering.configured import access_of, config_of
from dispatcher.node.clustering.greeting import greet
from dispatcher.node.clustering.holder import NodeHolder
from dispatcher.node.clustering.joining import agree, join, patiently, take_directory
from dispatcher.node.clustering.observing import MemberEvents
from dispatcher.node.clustering.streams import Streams
from dispatcher.node.early_stop import STOP, EarlyStop
from dispatcher.node.opening import begin_log
from dispatcher.node.process import Process, run_loop
from dispatcher.node.server import Server
from dispatcher.node.systemd import Systemd
from dispatcher.peers.gate import Gate, read_address
from dispatcher.peers.tls import Mutual
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.output import LineOutput
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog.nats.access import Access
from dispatcher.txlog.nats.servers import FEWEST, check_servers

if TYPE_CHECKING:
    from dispatcher.txlog.nats.client import NatsLink

_TAKEN: Final = 4
"""The exit code of a node whose number is another's now."""
_QUIET_S: Final = 10.0
"""Before the log says again that it waits for the same thing."""
_ASK_S: Final = 10.0
"""Between looks at whether a server of NATS that was away says how it is configured."""
_AGREE_S: Final = 5.0
"""For NATS to answer a SIGHUP: whoever sent it is told, and sends it again."""


def run_member(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    rules: Rules | None = None,
    made_key: Path | None = None,
    early: EarlyStop | None = None,
) -> int:
    """As `process.run`, for a node with CLUSTER.

    Raises:
        DispatcherError: the node cannot start; it carries the exit code.
    """
    rules = rules or Rules()
    early = early or EarlyStop()
    config = config_of(settings)
    held = take_directory(settings)
    output, events = begin_log(settings, rules, environ, made_key=made_key)

    async def serve() -> int:
        async with AsyncExitStack() as stack:
            anteroom = Anteroom(settings, events)
            stack.push_async_callback(anteroom.stop)
            node = _Node(settings, config, events, stack, anteroom.waits)
            await anteroom.start()
            clustered = await _unless_stopped(node.join(), early, events, output)
            await anteroom.stop()
            server = Server(settings, events, rules, cluster=clustered)
            node.holder.serve(server)
            process = Process(
                settings,
                rules,
                environ,
                events,
                output,
                server=server,
                manager=Systemd(environ),
                early=early,
                files=node.files(server),
            )
            return await node.serve(process)

    try:
        return run_loop(serve, events, output)
    finally:
        os.close(held)


class _Node:
    """What a node has beside its server. All of it is closed by `stack`."""

    def __init__(
        self,
        settings: Settings,
        config: ClusterConfig,
        events: Events,
        stack: AsyncExitStack,
        waits: Callable[[str], None],
    ) -> None:
        """`waits` is told what the start waits for, each time anew."""
        self.holder = NodeHolder()
        self._waits = waits
        self._settings = settings
        self._config = config
        self._events = events
        self._stack = stack
        self._taken = asyncio.Event()
        self._supervisor = Supervisor(self._died)
        self._unheard: Sequence[str] = ()
        self._mutual: Mutual | None = None
        self._keys: list[str] = []
        self._store: LeaseStore
        self._link: NatsLink

    async def join(self) -> Clustered:
        """Become a member that claims nothing yet.

        Raises:
            DispatcherError: what has to be changed first.
        """
        config, events = self._config, self._events
        self._keys = await self._signing_keys()
        seldom = _Seldom(lambda reason: events.cluster_waiting(reason=reason))

        def waits(reason: str) -> None:
            seldom(reason)
            self._waits(reason)

        joined = await join(config, waits)
        self._stack.push_async_callback(joined.link.close)
        self._tell_unheard(joined.unheard)
        self._link, self._store = joined.link, joined.store
        await agree(joined.store, config.partitions, self._keys, waits)
        self._mutual = await self._tls()
        gate = Gate(config.key, _Refused(events), self._mutual)
        self._stack.push_async_callback(gate.close)
        await gate.listen(config.listen.host, config.listen.port)
        await patiently(lambda: greet(joined.store, gate, node=config.node), waits)
        nonce = random.SystemRandom().getrandbits(63)
        member = Member(
            joined.store,
            self.holder,
            MemberEvents(events, self._taken.set),
            self._died,
            node=config.node,
            address=config.advertise,
            partitions=config.partitions,
            nonce=nonce,
            clock=SystemClock(),
            random=random.Random(),
        )
        self._stack.push_async_callback(member.stop)
        await member.start()
        events.cluster_joined(
            node=config.node,
            member=member.number,
            address=config.advertise,
            partitions=config.partitions,
        )
        settings = self._settings
        logs = Streams(
            joined.link,
            settings.transaction_log,
            quota_bytes=config.quota_bytes,
            replicas=config.replicas,
            audit_max_bytes=settings.audit_max_bytes,
        )
        return Clustered(
            number=member.number,
            nonce=nonce,
            spread=config.partitions,
            directory=member.directory,
            member=member,
            logs=logs,
            gate=gate,
        )

    def files(self, server: Server) -> dict[str, Callable[[], Awaitable[bool]]]:
        """What SIGHUP reads again of a node of a cluster, by the setting that names it."""
        tls = self._mutual

        async def load_signing_keys() -> bool:
            is_other = await self._agree_again()
            return await server.load_signing_keys() or is_other

        async def load_tls() -> bool:
            assert tls is not None
            access = await self._access()
            if not await apart(tls.load, name="certificates"):
                return False
            self._link.use(access)
            return True

        async def load_credentials() -> bool:
            before, access = self._link.access, await self._access()
            self._link.use(access)
            return access.credentials != before.credentials

        found: dict[str, Callable[[], Awaitable[bool]]] = {"SIGNING_KEY": load_signing_keys}
        if tls is not None:
            found["CLUSTER_TLS_CERT"] = load_tls
        if self._settings.cluster_credentials is not None:
            found["CLUSTER_CREDENTIALS"] = load_credentials
        return found

    async def _access(self) -> Access:
        return await apart(partial(access_of, self._settings), name="access to NATS")

    async def _agree_again(self) -> bool:
        """Keys that are replaced one by one are known to all nodes after each step. Says whether
        there are others than before.

        Raises:
            ConfigError: this file has none of those that the others have, or NATS says nothing.
        """
        before, keys = self._keys, await self._signing_keys()
        try:
            async with asyncio.timeout(_AGREE_S):
                await agree(self._store, self._config.partitions, keys, lambda _: None)
        except TimeoutError as error:
            raise ConfigError(
                "SIGNING_KEY: NATS does not answer, so the other nodes do not know of what is in "
                "the file; send SIGHUP again when it does"
            ) from error
        self._keys = keys
        return keys != before

    async def serve(self, process: Process) -> int:
        """Serve until it stops. Returns the exit code."""
        self._stack.push_async_callback(self._supervisor.stop)
        self._supervisor.spawn("end of a member", self._end_when_taken(process))
        if self._unheard:
            self._supervisor.spawn("unknown NATS servers", self._ask_unheard())
        code = await process.serve()
        return _TAKEN if self._taken.is_set() else code

    async def _signing_keys(self) -> list[str]:
        """Ids of the keys of this node."""
        file = SigningKeyFile(self._settings.signing_key)
        keys = await apart(file.of_cluster, name="signing-keys")
        return [key.id for key in keys.public]

    async def _tls(self) -> Mutual | None:
        files = self._config.tls
        if files is None:
            return None
        reached = read_address(self._config.advertise)
        assert reached is not None
        make = partial(Mutual, files.ca, files.cert, files.key, host=reached.host)
        return await asyncio.to_thread(make)

    async def _end_when_taken(self, process: Process) -> None:
        await self._taken.wait()
        process.begin_stop("none")

    def _tell_unheard(self, unheard: Sequence[str]) -> None:
        self._unheard = unheard
        for address in unheard:
            self._events.cluster_server_unknown(monitoring=address)

    async def _ask_unheard(self) -> None:
        """Ask servers that were away how they are configured, until all have said it."""
        fewest = min(FEWEST, self._config.replicas)
        while self._unheard:
            await asyncio.sleep(_ASK_S)
            try:
                self._unheard = await check_servers(self._config.monitoring, fewest=fewest)
            except LogBusy:
                continue
            except ConfigError as error:
                self._events.cluster_server_unfit(reason=str(error))
                return

    def _died(self, name: str, error: BaseException) -> None:
        self._events.task_died(task=name, exc_info=error)


class _Refused:
    """Handshakes that failed, written down (`GateObserver`)."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def handshake_failed(self, address: str, reason: Any, detail: str, unheard: int) -> None:
        """See the seam."""
        self._events.peer_refused(
            address=address, reason=reason.value, detail=detail, unheard=unheard
        )


class _Seldom:
    """Tells the same thing once in a while, something else at once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._said = ""
        self._at_s = 0.0

    def __call__(self, text: str) -> None:
        now_s = time.monotonic()
        if text != self._said or now_s - self._at_s >= _QUIET_S:
            self._said, self._at_s = text, now_s
            self._tell(text)


async def _unless_stopped(
    work: Coroutine[Any, Any, Clustered], early: EarlyStop, events: Events, output: LineOutput
) -> Clustered:
    """Do it, unless a signal comes: then the process ends. Nothing was promised to anybody."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    caught: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        caught.append(number)
        task.cancel()

    for number in STOP:
        loop.add_signal_handler(number, stop, number)
    before = early.end()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    if before is not None:
        stop(before)
    try:
        return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        events.server_stopping(signal=caught[0].name, in_flight=0)
        events.server_stopped(exit_code=0, pending=None)
        output.close()
        os._exit(0)
