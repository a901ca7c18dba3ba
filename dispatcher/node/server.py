"""The server: what accepts and delivers messages and, in the first process of a node, the desk.

Started in the order in which they need each other: the API first, which says how far the start is
and nothing else; then the logs are recovered, then the listener opens, and delivery begins last: it
must know the addresses of both, never to send to them. Callers who come in between wait until the
queue begins.

Stopped from the outside in: where `DRAIN_NOTICE` says so, first `/readyz` tells those in front to
go elsewhere; then nothing is accepted, what is in flight ends (until then the API answers and says
so), the API goes, so that no operator asks for what is being closed, then connections of callers
and to destinations, and the queue with its logs last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dispatcher.api.health import Health
from dispatcher.core.authority import authority
from dispatcher.core.rules.table import Rules
from dispatcher.errors import LogUnknown, PortTaken
from dispatcher.listening.given import GivenSockets, addresses
from dispatcher.node import certificates
from dispatcher.node.assignment import Assignment
from dispatcher.node.desk import Desk
from dispatcher.node.desk_logs import in_files
from dispatcher.node.layout import Layout
from dispatcher.node.message_service import MessageService
from dispatcher.node.notifying.notifier import Notifier
from dispatcher.node.outlook import Addresses
from dispatcher.node.partitions import OWNER, Companion
from dispatcher.node.patience import ends_unless_stalled
from dispatcher.node.public import PUBLIC_NOT_READY, PUBLIC_READY, PublicHealth, Whereabouts
from dispatcher.node.pulse import Condition
from dispatcher.node.telling import tell
from dispatcher.queue.commit.stalls import Pace
from dispatcher.queue.partition import Partition
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events

if TYPE_CHECKING:  # they are imported only where there is a cluster
    from dispatcher.cluster.holder import Ends
    from dispatcher.node.clustered import Clustered
    from dispatcher.node.in_cluster import InCluster

_FAREWELL_S: Final = 0.2
"""How long callers have to read that the log failed, before the process ends."""


class Server:
    """Everything that runs in the process. `failed` is set once the log can't be written.
    `is_abandoned` says that a log did not answer when the server stopped: threads hang in it, and
    only the end of the process ends them."""

    def __init__(
        self,
        settings: Settings,
        events: Events,
        rules: Rules | None = None,
        *,
        assignment: Assignment | None = None,
        layout: Layout | None = None,
        given: GivenSockets | None = None,
        restarts: Callable[[], int] | None = None,
        cluster: Clustered | None = None,
    ) -> None:
        """`assignment` says which part of the node it is; None: all of it. Where it has all
        partitions, former numbers of `layout` are forgotten when nothing of them is left. It
        listens on the sockets that are `given`, and binds those that are not. `restarts` is how
        many processes of the node were started again; None: it has no others.

        Of a `cluster` it is one node: its partitions come and go, and the desk with partition 0;
        `assignment`, `layout` and `restarts` are of no account."""
        self.failed = asyncio.Event()
        self.is_abandoned = False
        self._settings = settings
        self._events = events
        self._given = given or GivenSockets()
        self._started = False
        self._phase = "recovering" if cluster is None else "starting"
        self._is_leaving = False
        self.in_cluster: InCluster | None = None
        """What it has as a node of a cluster; None where it is none."""
        self.drain_s: float | None = None
        """How long attempts may go on, once it is told to stop."""
        if cluster is not None:
            assignment = Assignment.of_member(cluster.number, cluster.spread)
        self.messages = messages = MessageService(
            settings,
            events,
            assignment or Assignment(),
            layout=layout,
            given=self._given,
            health=self._public_health,
            log_failed=self.failed.set,
            cluster=cluster,
            beside=self._beside,
        )
        self.certificates = messages.certificates
        self._notifier = Notifier(
            messages.whole,
            messages.acceptor,
            messages.supervisor,
            among=self._processes_now,
        )
        messages.hearing.heard = self._notifier
        self._desk: Desk | None = None  # one that is here as long as the process
        if messages.assignment.has_desk:
            self._desk = Desk(
                messages,
                messages.first,
                in_files(settings),
                self._notifier,
                sockets=self._given.api,
                health=self.health,
                addresses=self._addresses,
                restarts=restarts,
            )
        elif messages.neighbours is not None:
            tell(messages, messages.neighbours, self.health)
        if cluster is not None:
            # Only here: other servers would begin later for what they do not use.
            from dispatcher.node.in_cluster import InCluster

            self.in_cluster = InCluster(
                cluster,
                messages,
                self._notifier,
                sockets=self._given.api,
                health=self.health,
                addresses=self._addresses,
            )
        self.prepare_rules(rules or Rules())()

    def _beside(self, number: int, partition: Partition, ends: Ends) -> Companion | None:
        """See `partitions.Beside`."""
        return None if self.in_cluster is None else self.in_cluster.beside(number, partition, ends)

    def _processes_now(self) -> int:
        """How many processes of the node, or nodes of the cluster, there are now, with this one."""
        neighbours = self.messages.neighbours
        return 1 if neighbours is None else neighbours.count + 1

    @property
    def desk(self) -> Desk | None:
        """The desk, while it is here."""
        return self._desk if self.in_cluster is None else self.in_cluster.desk

    @property
    def in_flight(self) -> int:
        """Attempts and runs under way."""
        runs = 0 if self.desk is None else self.desk.in_flight
        return self.messages.in_flight + runs

    @property
    def pending(self) -> int:
        """Messages that are neither delivered nor dead."""
        return self.messages.whole.pending

    def health(self) -> Health:
        """Whether messages are accepted and the log is healthy."""
        if not self._started:
            return Health(self._phase, self._progress())
        if self._is_leaving or self.drain_s is not None:
            return Health("shutting_down")  # also a node of a cluster, which passes on what comes
        queues = self.messages.queues
        if any(queue.dead_letters.full for queue in queues):
            return Health("disk_full")
        if Pace.STALLED in (*(queue.dead_stalls.pace for queue in queues), *self._results_pace):
            return Health("disk_stalled" if self.in_cluster is None else "log_late")
        refusal = self.messages.acceptor.refusal()
        if refusal is not None:
            return Health(refusal.slug)
        is_cut_off = self.in_cluster is not None and self.in_cluster.is_cut_off
        return Health("log_late" if is_cut_off else None)

    @property
    def _results_pace(self) -> list[Pace]:
        return [] if self.desk is None else [self.desk.pace]

    def check_free(self) -> None:
        """Raise `LogLocked` where another process has one of the logs."""
        self.messages.check_free()
        if self.desk is not None:
            self.desk.check_free()

    def condition(self) -> Condition:
        """How it is, for `Pulse`."""
        whole = self.messages.whole
        paces = (*whole.paces, *self._results_pace)
        return Condition(self.health(), Pace.STALLED not in paces, self.pending, whole.dead)

    def _public_health(self) -> PublicHealth:
        return PUBLIC_READY if self.health().is_ready else PUBLIC_NOT_READY

    def _progress(self) -> str:
        if self._phase != "recovering":
            return ""
        records, done, total = self.messages.read_so_far
        return f"{records} records so far, {done} of {total} MiB."

    def _whereabouts(self) -> tuple[Whereabouts, Whereabouts]:
        """Where callers and operators find it."""
        settings, tls = self._settings, self.certificates
        has_tls = tls.of(certificates.LISTEN) is not None, tls.of(certificates.API) is not None
        listen = self.messages.listener.bound
        return (
            Whereabouts.of(settings.listen, listen, tls=has_tls[0]),
            Whereabouts.of(settings.api_listen, self._api_bound, tls=has_tls[1]),
        )

    @property
    def _api_bound(self) -> list[tuple[str, int]]:
        """Where the API of the node is, as far as this process knows."""
        if self.in_cluster is not None:
            return self.in_cluster.bound
        return addresses(self._given.api) if self.desk is None else self.desk.api.bound

    def _addresses(self) -> Addresses:
        listen, api = self._whereabouts()
        return Addresses(listen.shown, api.shown)

    async def start(self) -> None:
        """Recover, deliver what is pending, and listen.

        Raises:
            LogLocked, LogCorrupt, PortTaken, ConfigError: nothing is listened on; call `abort`.
        """
        began = time.monotonic()
        messages, desk = self.messages, self.desk
        if self.in_cluster is not None:
            await self.in_cluster.listen()
        if desk is not None:
            await self._start_api(desk)
        await self._recover()
        self._phase = "starting"
        await messages.listener.start()
        proxy = messages.listener.proxy_bound
        messages.pool.set_own_listeners([*messages.listener.bound, *proxy, *self._api_bound])
        messages.begin()
        if messages.neighbours is not None:
            await messages.neighbours.start()
        self._notifier.start()
        if desk is not None:
            await desk.start()
        self._started = True
        if self.in_cluster is not None:
            self.in_cluster.begin()
        listen, api = self._whereabouts()
        self._events.server_ready(
            send_to=listen.url,
            dashboard=api.page,
            listen=listen.shown,
            proxy_listen=[authority(*address) for address in proxy],
            api_listen=", ".join(api.shown),
            pending=self.pending,
            took_ms=int((time.monotonic() - began) * 1000),
        )

    async def _start_api(self, desk: Desk) -> None:
        try:
            await desk.listen()
        except PortTaken:
            # By a server with the same settings, which has the logs too? That is what to say then.
            self.messages.check_free()
            raise

    async def _recover(self) -> None:
        began = time.monotonic()
        await self.messages.open()
        if self.desk is not None:
            await self.desk.open(OWNER, 0)
        self.messages.tell_opened(began)

    async def load_signing_keys(self) -> bool:
        """Read the keys that sign runs again; say whether there are others.

        Raises:
            ConfigError: the file is wrong; those in force stay.
        """
        return self.desk is not None and await self.desk.functions.signing.load()

    def replace_keys(self, settings: Settings) -> None:
        """Put other keys into force, for callers and operators.

        Raises:
            ValueError: there would be keys where there were none, or none where there were some.
                Nothing has changed.
        """
        if bool(settings.api_keys) is not bool(self._settings.api_keys):
            raise ValueError("the API cannot be opened or closed")
        self.messages.listener.replace_keys(settings.listen_keys)
        if self.in_cluster is not None:
            self.in_cluster.replace_keys(settings.api_keys)
        if self.desk is not None:
            self.desk.api.replace_keys(settings.api_keys)

    def prepare_rules(self, rules: Rules) -> Callable[[], None]:
        """Read the certificates that rules name. Blocks, and may be called in a thread.

        Returns what puts the rules into force, for messages that wait already too.

        Raises:
            ConfigError: they cannot be put into force.
        """
        of_messages = self.messages.prepare_rules(rules)

        def put_into_force() -> None:
            of_messages()
            if self.desk is not None:
                self.desk.put_into_force()
            self._notifier.replace(rules.notify)

        return put_into_force

    async def give_notice(self, notice_s: float, until: asyncio.Event) -> None:
        """Go on as before for a while, but say that this will not last: `/readyz` answers 503, and
        callers are asked to open a new connection, which a load balancer makes elsewhere. Returns
        early once `until` is set."""
        self._is_leaving = True
        self.messages.listener.announce_stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), notice_s)

    async def stop(self, drain_timeout_s: float) -> int:
        """Accept nothing more, let attempts end for a while, write down how they ended, and close.

        A log that does not answer is not waited for (`is_abandoned`).

        Returns the exit code: 0, or 1 when the log failed meanwhile.
        """
        messages, desk = self.messages, self.desk
        self.drain_s = drain_timeout_s
        messages.partitions.close_intake()
        if self.in_cluster is not None:
            messages.listener.stop_accepting()
            if not await self.in_cluster.leave(drain_timeout_s):
                self._abandon_logs()
        else:
            ending = [messages.partitions.drain(drain_timeout_s)]
            if desk is not None:
                ending.append(desk.drain(drain_timeout_s))
            messages.listener.stop_accepting()
            if not all(await asyncio.gather(*ending)):
                self._events.server_abandoned(in_flight=messages.in_flight)
        await self._unless_stalled(self._flush)
        await self._close()
        return 1 if self.failed.is_set() else 0

    async def _flush(self) -> None:
        await asyncio.gather(*(queue.committer.flush() for queue in self.messages.queues))

    async def abort(self) -> None:
        """Close without waiting for attempts: the log failed, or the start did."""
        for queue in self.messages.queues:
            queue.close_intake()
        if self._started:
            await asyncio.sleep(_FAREWELL_S)
        await self._close()

    async def _close(self) -> None:
        messages, desk = self.messages, self.desk
        if desk is not None:
            await desk.leave()
        if self.in_cluster is not None:
            await self.in_cluster.leave_api()
        await messages.listener.close()
        if messages.neighbours is not None:
            await messages.neighbours.stop()
        if self.in_cluster is not None:
            await self.in_cluster.stop()
        await messages.pool.close()
        if desk is not None:
            await self._unless_stalled(desk.stop)
        await self._unless_stalled(messages.stop_queues)
        if messages.tracing is not None:
            await messages.tracing.close()

    def _stored_batches(self) -> int:
        """While this grows, the disk moves."""
        batches = self.messages.whole.total(lambda queue: queue.batches)
        return batches + (0 if self.desk is None else self.desk.batches)

    async def _unless_stalled(self, act: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do something that waits for the logs, but not for a log whose disk does not answer:
        nothing that was promised is lost without it, and a stop has to end."""
        if self.is_abandoned:
            return
        if not await ends_unless_stalled(act, self._stored_batches):
            self._abandon_logs()

    def _abandon_logs(self) -> None:
        self.is_abandoned = True
        self._events.server_log_abandoned(pending=self.pending)
        # Of a batch on servers that go on without this one nobody may be told anything.
        error = None if self.in_cluster is None else LogUnknown("the node stops")
        for queue in self.messages.queues:
            queue.abandon(error)
        if self.desk is not None:
            self.desk.abandon()
