"""The server: one queue with its logs, a listener, the delivery pool and the API.

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
from dispatcher.api.server import ApiServer
from dispatcher.core.authority import authority
from dispatcher.core.clock import SystemClock
from dispatcher.core.keys import Keyring
from dispatcher.delivery.pool import Pool
from dispatcher.errors import ConfigError, PortTaken
from dispatcher.functions.config import Events as FunctionEvents
from dispatcher.functions.ending.reviving import Reviving
from dispatcher.functions.outside import Outside
from dispatcher.functions.service import FunctionService
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.functions.signing.in_force import KeysInForce, UnkeptKey
from dispatcher.ingress.listener import Listener
from dispatcher.node import configs
from dispatcher.node.backup.making import Backups, Logs
from dispatcher.node.call_log import CallLog, told_lost
from dispatcher.node.descriptors import Share, raise_limit, share
from dispatcher.node.metrics import Metrics
from dispatcher.node.observer import EventObserver
from dispatcher.node.patience import ends_unless_stalled
from dispatcher.node.places import has_log, results_of
from dispatcher.node.public import PUBLIC_NOT_READY, PUBLIC_READY, PublicHealth, url_of
from dispatcher.queue.commit.stalls import Pace
from dispatcher.queue.partition import Partition
from dispatcher.queue.ports import LogName
from dispatcher.settings import Settings
from dispatcher.settings.model import Tracing
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.metrics import process_text
from dispatcher.txlog.disk import RealDisk
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.place import check_free

if TYPE_CHECKING:  # OpenTelemetry is imported only where it is asked for
    from dispatcher.telemetry.otlp import Otlp

_FAREWELL_S: Final = 0.2
"""How long callers have to read that the log failed, before the process ends."""


class Server:
    """Everything that runs in the process. `failed` is set once the log can't be written.
    `is_abandoned` says that a log did not answer when the server stopped: threads hang in it, and
    only the end of the process ends them."""

    def __init__(self, settings: Settings, events: Events) -> None:
        self.failed = asyncio.Event()
        self.is_abandoned = False
        self._settings = settings
        self._events = events
        self._started = False
        self._phase = "recovering"
        self._is_leaving = False
        incarnation = random.SystemRandom().getrandbits(32)
        descriptors = raise_limit()
        connections = share(
            descriptors, settings.worker, settings.worker_slow, settings.call_worker
        )
        self._warn_of_less(connections, descriptors)
        self._log = FileLog(settings.transaction_log, keep_everything=settings.event_sourcing)
        self._dead_log = FileLog(settings.dead_letter)
        self._tracing = self._open_tracing()
        self._observer = EventObserver(
            events,
            paths={
                LogName.TRANSACTION: str(settings.transaction_log),
                LogName.DEAD_LETTER: str(settings.dead_letter),
                LogName.RESULTS: str(results_of(settings.transaction_log)),
            },
            on_log_failed=self.failed.set,
            spans=None if self._tracing is None else self._tracing.spans,
        )
        self._queue = Partition(
            self._log,
            self._dead_log,
            configs.of_partition(settings, connections),
            self._observer,
            clock=SystemClock(),
            random=random.Random(),
            incarnation=incarnation,
        )
        self._pool = Pool(configs.of_delivery(settings, connections), died=self._observer.died)
        self._functions = self._make_functions(incarnation, connections)
        self._listener = Listener(
            self._queue.intake,
            configs.of_ingress(settings, connections),
            self._public_health,
        )
        self._api_keys = Keyring(settings.api_keys)
        self._metrics = Metrics(
            self._queue,
            self._pool,
            self._listener,
            self._log,
            self._dead_log,
            functions=self._functions.overview,
            operators=lambda: self._api.audit.counts,
        )
        self._backups = Backups(
            Logs(
                self._log,
                self._dead_log,
                (settings.transaction_log, settings.dead_letter),
                results=self._results_log,
            ),
            clock=SystemClock(),
            events=events,
            supervisor=self._queue.supervisor,
        )
        self._api = ApiServer(
            settings.api_listen.host,
            settings.api_listen.port,
            self._api_keys,
            health=self.health,
            metrics=self._metrics_text,
            backups=self._backups,
            admin=self._queue.admin,
            events=events,
            max_connections=connections.operators,
            carrier=self._queue.carrying,
            functions=Outside(
                self._functions,
                now_us=self._queue.clock.wall_us,
                retention_us=settings.result_retention_ms * 1000,
            ),
            sessions=self._functions.bridge,
            schedules=self._functions.schedules,
            max_body=settings.max_body_bytes,
        )

    def _results_log(self) -> FileLog | None:
        log = self._functions.results.log
        return log if isinstance(log, FileLog) else None

    def _make_functions(self, incarnation: int, connections: Share) -> FunctionService:
        settings = self._settings
        path = results_of(settings.transaction_log)
        functions = FunctionService(
            self._queue,
            configs.of_functions(settings, connections),
            self._read_signing_keys(),
            make_results_log=lambda: FileLog(path),
            has_results=has_log(path),
            deliverer=self._pool,
            clock=self._queue.clock,
            random=random.Random(),
            incarnation=incarnation,
            events=FunctionEvents(
                warned=lambda function, what: self._events.call_warned(
                    function=function, what=what
                ),
                log=CallLog(self._events, None if self._tracing is None else self._tracing.calls),
                lost=partial(told_lost, self._events.call_lost, settings.transaction_log),
                result_lost=partial(told_lost, self._events.call_result_lost, path),
                failed=lambda error: self._observer.log_failed(LogName.RESULTS, error),
                results_space_changed=lambda full: self._observer.space_changed(
                    LogName.RESULTS, full
                ),
            ),
        )
        self._queue.redriver.calls.reviver = Reviving(
            functions.machine,
            functions.store,
            functions.results,
            now_us=self._queue.clock.wall_us,
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
        return Otlp.open(SystemClock(), lambda: self._queue.clock.now_us(), self._warn)

    def _warn(self, logger: str, text: str) -> None:
        self._events.library_warned(logger=logger, text=text, exc_info=None)

    @property
    def in_flight(self) -> int:
        """Attempts and runs under way."""
        return self._queue.figures.in_flight + self._functions.runner.in_flight

    @property
    def pending(self) -> int:
        """Messages that are neither delivered nor dead."""
        return self._queue.pending.index.count

    def health(self) -> Health:
        """Whether messages are accepted and the log is healthy."""
        if not self._started:
            return Health(self._phase, self._progress())
        if self._is_leaving:
            return Health("shutting_down")
        if self._queue.dead_letters.full:
            return Health("disk_full")
        if Pace.STALLED in (self._queue.dead_stalls.pace, self._functions.results.pace):
            return Health("disk_stalled")
        refusal = self._queue.intake.refusal()
        return Health(None if refusal is None else refusal.slug)

    def _public_health(self) -> PublicHealth:
        return PUBLIC_READY if self.health().is_ready else PUBLIC_NOT_READY

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
        self._pool.set_own_listeners([*self._listener.bound, *self._api.bound])
        self._queue.start(self._pool)
        self._functions.start()
        self._started = True
        self._events.server_ready(
            send_to=url_of(*self._listener.bound[0]),
            dashboard=f"{url_of(*self._api.bound[0])}/",
            listen=[authority(*address) for address in self._listener.bound],
            api_listen=", ".join(authority(*address) for address in self._api.bound),
            pending=self.pending,
            took_ms=int((time.monotonic() - began) * 1000),
        )

    async def _start_api(self) -> None:
        try:
            await self._api.start()
        except PortTaken:
            # By a server with the same settings, which has the logs too? That is what to say then.
            for path in (self._settings.transaction_log, self._settings.dead_letter):
                check_free(path, RealDisk())
            raise

    def _progress(self) -> str:
        if self._phase != "recovering":
            return ""
        read = self._queue.recovery.records + len(self._queue.dead_letters)
        opening = zip(self._log.opening, self._dead_log.opening, strict=True)
        done, total = (sum(both) >> 20 for both in opening)
        return f"{read} records so far, {done} of {total} MiB."

    async def _recover(self) -> None:
        began = time.monotonic()
        await self._queue.open("dispatcher", 0)
        await self._functions.open("dispatcher", 0)
        for log, path in (
            (self._log, self._settings.transaction_log),
            (self._dead_log, self._settings.dead_letter),
        ):
            if log.torn is not None:
                self._events.log_torn_tail_cut(
                    path=str(path),
                    position=log.torn.position,
                    size_bytes=log.torn.size_bytes,
                    backup=str(log.torn.backup),
                )
        self._events.log_opened(
            path=str(self._settings.transaction_log),
            messages=self.pending,
            size_bytes=self._log.size_bytes,
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
        self._queue.close_intake()
        self._functions.close()
        self._listener.stop_accepting()
        drained = await self._drain(drain_timeout_s)
        if not drained:
            self._events.server_abandoned(in_flight=self._queue.figures.in_flight)
        await self._unless_stalled(self._queue.committer.flush)
        await self._close()
        return 1 if self.failed.is_set() else 0

    async def _drain(self, timeout_s: float) -> bool:
        """Wait until neither attempts nor runs are under way; False when time ran out first."""
        return all(
            await asyncio.gather(self._queue.drain(timeout_s), self._functions.drain(timeout_s))
        )

    async def abort(self) -> None:
        """Close without waiting for attempts: the log failed, or the start did."""
        self._queue.close_intake()
        if self._started:
            await asyncio.sleep(_FAREWELL_S)
        await self._close()

    async def _close(self) -> None:
        await self._api.stop()
        await self._listener.close()
        await self._pool.close()
        await self._unless_stalled(self._functions.stop)
        await self._unless_stalled(self._queue.stop)
        if self._tracing is not None:
            await self._tracing.close()

    async def _unless_stalled(self, act: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do something that waits for the logs, but not for a log whose disk does not answer:
        nothing that was promised is lost without it, and a stop has to end."""
        if self.is_abandoned:
            return
        results = self._functions.results
        if not await ends_unless_stalled(act, lambda: self._queue.batches + results.batches):
            self.is_abandoned = True
            self._events.server_log_abandoned(pending=self.pending)
            self._queue.abandon()
            results.abandon()
