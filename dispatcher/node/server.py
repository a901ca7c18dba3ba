"""The server: partitions with their logs, a listener, the delivery pool and the API.

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
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from dispatcher.api.health import Health
from dispatcher.api.masking import Masking
from dispatcher.api.server import ApiServer
from dispatcher.audit.audit_log import AuditLog
from dispatcher.core.authority import authority
from dispatcher.core.clock import SystemClock
from dispatcher.core.keys import Keyring
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.delivery.adding import Additions
from dispatcher.delivery.pool import Pool
from dispatcher.errors import ConfigError, PortTaken
from dispatcher.functions.config import Events as FunctionEvents
from dispatcher.functions.ending.reviving import Reviving
from dispatcher.functions.outside import Outside
from dispatcher.functions.service import FunctionService
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.functions.signing.in_force import KeysInForce, UnkeptKey
from dispatcher.ingress.listener import Listener
from dispatcher.ingress.planned import message_of
from dispatcher.node import certificates, configs, on_disk
from dispatcher.node.backup.making import Backups, Logs
from dispatcher.node.call_log import CallLog, told_lost
from dispatcher.node.descriptors import Share, raise_limit, share
from dispatcher.node.disks import TRANSACTION, Disks
from dispatcher.node.merged.local import merged
from dispatcher.node.metrics import Metrics
from dispatcher.node.notifying.notifier import Notifier
from dispatcher.node.observer import EventObserver
from dispatcher.node.outlook import Addresses, NodeOutlook
from dispatcher.node.partitions import Partitions
from dispatcher.node.patience import ends_unless_stalled
from dispatcher.node.places import audit_of, has_log, results_of
from dispatcher.node.public import PUBLIC_NOT_READY, PUBLIC_READY, PublicHealth, Whereabouts
from dispatcher.node.pulse import Condition
from dispatcher.node.router import Router
from dispatcher.node.whole import Whole
from dispatcher.queue.commit.stalls import Pace
from dispatcher.queue.ports import Acceptor, LogName
from dispatcher.schedules.messages import MessageMaker
from dispatcher.schedules.partition import PartitionQueue
from dispatcher.settings import Settings
from dispatcher.settings.model import Tracing
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.metrics import process_text
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import TransactionLog
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.place import check_free
from dispatcher.txlog.files.segment import Sizes

if TYPE_CHECKING:  # OpenTelemetry is imported only where it is asked for
    from dispatcher.telemetry.otlp import Otlp

_AUDIT_SEGMENTS: Final = 8
"""Of so many parts the audit's log consists at least: the oldest goes as a whole."""
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
        partitions: int = 1,
    ) -> None:
        """There are so many `partitions`; calls and schedules are kept in the first one."""
        self.failed = asyncio.Event()
        self.is_abandoned = False
        self._settings = settings
        self._rules = RulesInForce()
        self._events = events
        self.certificates = certificates.Certificates(settings, events)
        self._started = False
        self._phase = "recovering"
        self._is_leaving = False
        incarnation = random.SystemRandom().getrandbits(32)
        descriptors = raise_limit()
        connections = share(
            descriptors, settings.worker, settings.worker_slow, settings.call_worker
        )
        self._warn_of_less(connections, descriptors)
        self._tracing = self._open_tracing()
        self._observers: list[EventObserver] = []
        self._on_disk = on_disk.make(
            settings,
            partitions,
            config_of=partial(configs.of_partition, settings, connections, self._rules),
            observer_of=self._make_observer,
            clock=SystemClock(),
            incarnation=incarnation,
        )
        self._queues = [one.queue for one in self._on_disk]
        self._first = self._queues[0]
        self._whole = Whole(self._queues)
        self._supervisor = Supervisor(self._first.observer.died)
        self._pool = Pool(
            configs.of_delivery(settings, connections),
            died=self._first.observer.died,
            rules=self._rules,
        )
        router = Router(partitions) if partitions > 1 else None
        self._acceptor: Acceptor = router or self._first.intake
        self._partitions = Partitions(
            lambda number, _: self._queues[number],
            router=router,
            pool=self._pool,
            lost=lambda *_: None,  # files have no other owner
            died=self._first.observer.died,
        )
        self._additions: Additions | None = None
        self._functions = self._make_functions(incarnation, connections)
        disks = Disks(
            {
                TRANSACTION: settings.transaction_log,
                "dead_letter": settings.dead_letter,
                "results": results_of(settings.transaction_log),
            }
        )
        self._notifier = Notifier(
            self._whole, self._acceptor, lambda: disks.space.get(TRANSACTION), self._supervisor
        )
        for observer in self._observers:
            observer.heard = self._notifier
        self.prepare_rules(rules or Rules())()
        self._listener = Listener(
            self._acceptor,
            configs.of_ingress(
                settings, connections, self._rules, self.certificates.of(certificates.LISTEN)
            ),
            self._public_health,
        )
        self._api_keys = Keyring(settings.api_keys)
        self._metrics = Metrics(
            self._whole,
            self._pool,
            self._listener,
            [one.log for one in self._on_disk],
            functions=self._functions.overview,
            operators=lambda: self._api.audit.counts,
            certificates=self.certificates,
            disks=disks,
        )
        self._trail = self._make_trail()
        self._backups = Backups(
            Logs(
                self._on_disk[0].log,
                self._on_disk[0].dead_log,
                (settings.transaction_log, settings.dead_letter),
                results=lambda: _as_files(self._functions.results.log),
                audit=lambda: _as_files(self._trail.log),
                others=[(one.log, one.dead_log) for one in self._on_disk[1:]],
            ),
            clock=SystemClock(),
            events=events,
            supervisor=self._supervisor,
        )
        self._outlook = NodeOutlook(
            self._whole,
            self._listener,
            disks,
            supervisor=self._supervisor,
            retention=configs.of_retention(settings),
            calls=self._functions.overview,
            health=self.health,
            addresses=self._addresses,
            audit_unkept=lambda: self._trail.unkept,
        )
        admin, carrier, replayer = merged(self._queues)
        self._api = ApiServer(
            *configs.host_and_port(settings.api_listen),
            self._api_keys,
            health=self.health,
            metrics=self._metrics_text,
            outlook=self._outlook,
            backups=self._backups,
            keeper=self._trail,
            admin=admin,
            events=events,
            max_connections=connections.operators,
            carrier=carrier,
            replayer=replayer,
            functions=Outside(
                self._functions,
                now_us=self._first.clock.wall_us,
                retention_us=settings.result_retention_ms * 1000,
            ),
            sessions=self._functions.bridge,
            schedules=self._functions.schedules,
            max_body=settings.max_body_bytes,
            masking=Masking.of(settings.mask_headers),
            tls=self.certificates.of(certificates.API),
            unix=configs.unix_place(settings, settings.api_listen),
            pace=self._whole.pace,
        )

    def _make_observer(self, places: on_disk.Places) -> EventObserver:
        results = str(results_of(self._settings.transaction_log))
        observer = EventObserver(
            self._events,
            paths={**places.named(), LogName.RESULTS: results},
            on_log_failed=self.failed.set,
            spans=None if self._tracing is None else self._tracing.spans,
        )
        self._observers.append(observer)
        return observer

    def _make_trail(self) -> AuditLog:
        path = audit_of(self._settings.transaction_log)
        most = self._settings.audit_max_bytes
        sizes = Sizes(largest=max(Sizes().smallest, most // _AUDIT_SEGMENTS))
        return AuditLog(
            lambda: FileLog(path, sizes=sizes),
            exists=has_log(path),
            max_bytes=most - sizes.largest,
            supervisor=self._supervisor,
            told=self._events,
        )

    def _make_functions(self, incarnation: int, connections: Share) -> FunctionService:
        settings = self._settings
        path = results_of(settings.transaction_log)
        functions = FunctionService(
            self._first,
            configs.of_functions(settings, connections, self._rules),
            self._read_signing_keys(),
            make_results_log=lambda: FileLog(path),
            has_results=has_log(path),
            deliverer=self._pool,
            clock=self._first.clock,
            random=random.Random(),
            incarnation=incarnation,
            events=FunctionEvents(
                warned=lambda function, what: self._events.call_warned(
                    function=function, what=what
                ),
                log=CallLog(self._events, None if self._tracing is None else self._tracing.calls),
                lost=partial(told_lost, self._events.call_lost, settings.transaction_log),
                result_lost=partial(told_lost, self._events.call_result_lost, path),
                failed=lambda error: self._first.observer.log_failed(LogName.RESULTS, error),
                results_space_changed=lambda full: self._first.observer.space_changed(
                    LogName.RESULTS, full
                ),
            ),
            planned_messages=MessageMaker(
                PartitionQueue(self._first, others=self._queues[1:], acceptor=self._acceptor),
                message_of,
                self._first.clock.wall_us,
            ),
        )
        self._first.redriver.calls.reviver = Reviving(
            functions.machine,
            functions.store,
            functions.results,
            now_us=self._first.clock.wall_us,
            new_id=lambda: functions.id_of(functions.next_key()),
            is_run_again=functions.runner.is_run_again,
        )
        return functions

    def _read_signing_keys(self) -> KeysInForce:
        """The keys that sign runs. Where nobody named their file and none can be made, a server of
        messages goes on as before, and applications must not check signatures."""
        file = SigningKeyFile(self._settings.signing_key)
        try:
            return KeysInForce(file)
        except ConfigError as error:
            if "signing_key" in self._settings.model_fields_set or file.path.exists():
                raise
            self._events.signing_key_unkept(path=str(file.path), reason=str(error))
            return KeysInForce(UnkeptKey())

    def _warn_of_less(self, connections: Share, descriptors: int) -> None:
        """Say which settings ask for more than the process may have."""
        settings = self._settings
        asked = [("WORKER", settings.worker, connections.workers)]
        if "worker_slow" in settings.model_fields_set:
            asked.append(("WORKER_SLOW", settings.worker_slow, connections.slow))
        if "call_worker" in settings.model_fields_set:
            asked.append(("CALL_WORKER", settings.call_worker, connections.calls))
        for setting, value, in_force in asked:
            if in_force < value:
                self._events.setting_reduced(
                    setting=setting, value=value, in_force=in_force, descriptors=descriptors
                )

    def _open_tracing(self) -> Otlp | None:
        if self._settings.tracing is Tracing.OFF:
            return None
        try:
            from dispatcher.telemetry.otlp import Otlp
        except ImportError as error:
            raise ConfigError(
                f"TRACING=otlp: expected OpenTelemetry to be installed ({error}): "
                "pip install '.[otel]' in the directory of the source"
            ) from error
        return Otlp.open(SystemClock(), lambda: self._first.clock.now_us(), self._warn)

    def _warn(self, logger: str, text: str) -> None:
        self._events.library_warned(logger=logger, text=text, exc_info=None)

    @property
    def in_flight(self) -> int:
        """Attempts and runs under way."""
        return self._attempts + self._functions.runner.in_flight

    @property
    def pending(self) -> int:
        """Messages that are neither delivered nor dead."""
        return self._whole.pending

    @property
    def _attempts(self) -> int:
        return self._whole.total(lambda queue: queue.figures.in_flight)

    def health(self) -> Health:
        """Whether messages are accepted and the log is healthy."""
        if not self._started:
            return Health(self._phase, self._progress())
        if self._is_leaving:
            return Health("shutting_down")
        if any(queue.dead_letters.full for queue in self._queues):
            return Health("disk_full")
        paces = [queue.dead_stalls.pace for queue in self._queues]
        if Pace.STALLED in (*paces, self._functions.results.pace):
            return Health("disk_stalled")
        refusal = self._acceptor.refusal()
        return Health(None if refusal is None else refusal.slug)

    def condition(self) -> Condition:
        """How it is, for `Pulse`."""
        paces = (*self._whole.paces, self._functions.results.pace)
        return Condition(self.health(), Pace.STALLED not in paces, self.pending, self._whole.dead)

    def _public_health(self) -> PublicHealth:
        return PUBLIC_READY if self.health().is_ready else PUBLIC_NOT_READY

    def _whereabouts(self) -> tuple[Whereabouts, Whereabouts]:
        """Where callers and operators find it."""
        settings, tls = self._settings, self.certificates
        has_tls = tls.of(certificates.LISTEN) is not None, tls.of(certificates.API) is not None
        return (
            Whereabouts.of(settings.listen, self._listener.bound, tls=has_tls[0]),
            Whereabouts.of(settings.api_listen, self._api.bound, tls=has_tls[1]),
        )

    def _addresses(self) -> Addresses:
        listen, api = self._whereabouts()
        return Addresses(listen.shown, api.shown)

    async def _metrics_text(self) -> str:
        return await self._metrics.text() + await asyncio.to_thread(process_text)

    async def start(self) -> None:
        """Recover, deliver what is pending, and listen.

        Raises:
            LogLocked, LogCorrupt, PortTaken, ConfigError: nothing is listened on; call `abort`.
        """
        began = time.monotonic()
        await self._start_api()
        await self._recover()
        self._phase = "starting"
        await self._listener.start()
        proxy = self._listener.proxy_bound
        self._pool.set_own_listeners([*self._listener.bound, *proxy, *self._api.bound])
        self._partitions.begin()
        self._functions.start()
        self._trail.start()
        await self._outlook.start()
        self._notifier.start()
        self._started = True
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

    async def _start_api(self) -> None:
        try:
            await self._api.start()
        except PortTaken:
            # By a server with the same settings, which has the logs too? That is what to say then.
            for _, path in self._on_disk[0].logs:
                check_free(path, RealDisk())
            raise

    def _progress(self) -> str:
        if self._phase != "recovering":
            return ""
        read = self._whole.total(lambda queue: queue.recovery.records) + self._whole.dead
        logs = [log for one in self._on_disk for log, _ in one.logs]
        opening = zip(*(log.opening for log in logs), strict=True)
        done, total = (sum(each) >> 20 for each in opening)
        return f"{read} records so far, {done} of {total} MiB."

    async def _recover(self) -> None:
        began = time.monotonic()
        await self._partitions.open_all(range(len(self._queues)), "dispatcher", 0)
        await self._functions.open("dispatcher", 0)
        await self._trail.open()
        for log, path in (each for one in self._on_disk for each in one.logs):
            if log.torn is not None:
                self._events.log_torn_tail_cut(
                    path=str(path),
                    position=log.torn.position,
                    size_bytes=log.torn.size_bytes,
                    backup=str(log.torn.backup),
                )
        for one in self._on_disk:
            self._events.log_opened(
                path=str(one.places.transaction),
                messages=one.queue.pending.index.count,
                size_bytes=one.log.size_bytes,
                took_ms=int((time.monotonic() - began) * 1000),
            )

    async def load_signing_keys(self) -> bool:
        """Read the keys that sign runs again; say whether there are others.

        Raises:
            ConfigError: the file is wrong; those in force stay.
        """
        return await self._functions.signing.load()

    def replace_keys(self, settings: Settings) -> None:
        """Put other keys into force, for callers and operators.

        Raises:
            ValueError: there would be keys where there were none, or none where there were some.
                Nothing has changed.
        """
        if bool(settings.api_keys) is self._api_keys.is_open:
            raise ValueError("the API cannot be opened or closed")
        self._listener.replace_keys(settings.listen_keys)
        self._api.replace_keys(settings.api_keys)

    def prepare_rules(self, rules: Rules) -> Callable[[], None]:
        """Read the certificates that rules name. Blocks, and may be called in a thread.

        Returns what puts the rules into force, for messages that wait already too.

        Raises:
            ConfigError: they cannot be put into force.
        """
        additions = Additions.load(rules, self._additions)

        def put_into_force() -> None:
            self._rules.replace(rules)
            self._notifier.replace(rules.notify)
            self._additions = additions
            self._pool.add(additions)
            self._whole.traffic.rules_changed()
            self._functions.turns.rules_changed()

        return put_into_force

    async def give_notice(self, notice_s: float, until: asyncio.Event) -> None:
        """Go on as before for a while, but say that this will not last: `/readyz` answers 503, and
        callers are asked to open a new connection, which a load balancer makes elsewhere. Returns
        early once `until` is set."""
        self._is_leaving = True
        self._listener.announce_stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), notice_s)

    async def stop(self, drain_timeout_s: float) -> int:
        """Accept nothing more, let attempts end for a while, write down how they ended, and close.

        A log that does not answer is not waited for (`is_abandoned`).

        Returns the exit code: 0, or 1 when the log failed meanwhile.
        """
        self._partitions.close_intake()
        self._functions.close()
        self._listener.stop_accepting()
        _, drained = await asyncio.gather(
            self._api.jobs.stop(drain_timeout_s), self._drain(drain_timeout_s)
        )
        if not drained:
            self._events.server_abandoned(in_flight=self._attempts)
        await self._unless_stalled(self._flush)
        await self._close()
        return 1 if self.failed.is_set() else 0

    async def _flush(self) -> None:
        await asyncio.gather(*(queue.committer.flush() for queue in self._queues))

    async def _drain(self, timeout_s: float) -> bool:
        """Wait until neither attempts nor runs are under way; False when time ran out first."""
        return all(
            await asyncio.gather(
                self._partitions.drain(timeout_s), self._functions.drain(timeout_s)
            )
        )

    async def abort(self) -> None:
        """Close without waiting for attempts: the log failed, or the start did."""
        for queue in self._queues:
            queue.close_intake()
        if self._started:
            await asyncio.sleep(_FAREWELL_S)
        await self._close()

    async def _close(self) -> None:
        await self._api.stop()
        await self._listener.close()
        await self._pool.close()
        await self._unless_stalled(self._functions.stop)
        await self._unless_stalled(self._trail.stop)
        await self._unless_stalled(self._stop_queues)
        if self._tracing is not None:
            await self._tracing.close()

    async def _stop_queues(self) -> None:
        await self._supervisor.stop()
        await self._partitions.stop()
        # Those as well that were not open yet.
        await asyncio.gather(*(queue.stop() for queue in self._queues))

    def _stored_batches(self) -> int:
        """While this grows, the disk moves."""
        batches = self._whole.total(lambda queue: queue.batches)
        return batches + self._functions.results.batches + self._trail.batches

    async def _unless_stalled(self, act: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do something that waits for the logs, but not for a log whose disk does not answer:
        nothing that was promised is lost without it, and a stop has to end."""
        if self.is_abandoned:
            return
        results = self._functions.results
        if not await ends_unless_stalled(act, self._stored_batches):
            self.is_abandoned = True
            self._events.server_log_abandoned(pending=self.pending)
            for queue in self._queues:
                queue.abandon()
            results.abandon()


def _as_files(log: TransactionLog | None) -> FileLog | None:
    """A log that can be backed up, where it is open."""
    return log if isinstance(log, FileLog) else None
