"""The server: one queue with its logs, a listener, the delivery pool and the API.

Started in the order in which they need each other: the logs are recovered first (another process
that has them is found before anything else happens), then the API and the listener, and delivery
last: it must know the addresses of both, never to send to them. Callers who come in between wait
until the queue begins.

Stopped from the outside in: nothing is accepted, what is in flight ends (until then the API answers
and says so), the API goes, so that no operator asks for what is being closed, then connections of
callers and to destinations, and the queue with its logs last.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from dispatcher.api.health import Health
from dispatcher.api.server import ApiServer
from dispatcher.core.clock import SystemClock
from dispatcher.core.egress import EgressPolicy
from dispatcher.core.retry import RetryPolicy
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.errors import ConfigError
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.listener import Listener
from dispatcher.node.descriptors import raise_limit, share
from dispatcher.node.metrics import metrics
from dispatcher.node.observer import EventObserver
from dispatcher.queue.ports import LogName
from dispatcher.queue.queue import Queue, QueueConfig
from dispatcher.queue.retention import RetentionPolicy
from dispatcher.settings import Settings
from dispatcher.settings.model import Tracing
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.metrics import render
from dispatcher.txlog.files import FileLog

if TYPE_CHECKING:  # OpenTelemetry is imported only where it is asked for
    from dispatcher.telemetry.otlp import Otlp

_FAREWELL_S: Final = 0.2
"""How long callers have to read that the log failed, before the process ends."""


class PublicHealth:
    """What `LISTEN` says at `/readyz`: no details, as anybody can ask."""

    __slots__ = ("body", "status")

    def __init__(self, *, is_ready: bool) -> None:
        self.status = 200 if is_ready else 503
        self.body = b'{"status":"ready"}' if is_ready else b'{"status":"not ready"}'


_READY: Final = PublicHealth(is_ready=True)
_NOT_READY: Final = PublicHealth(is_ready=False)


class Server:
    """Everything that runs in the process. `failed` is set once the log can't be written."""

    def __init__(self, settings: Settings, events: Events) -> None:
        self.failed = asyncio.Event()
        self._settings = settings
        self._events = events
        self._started = False
        incarnation = random.SystemRandom().getrandbits(32)
        connections = share(raise_limit(), settings.worker)
        self._log = FileLog(settings.transaction_log, keep_everything=settings.event_sourcing)
        self._dead_log = FileLog(settings.dead_letter)
        self._tracing = self._open_tracing()
        self._observer = EventObserver(
            events,
            paths={
                LogName.TRANSACTION: str(settings.transaction_log),
                LogName.DEAD_LETTER: str(settings.dead_letter),
            },
            on_log_failed=self.failed.set,
            spans=None if self._tracing is None else self._tracing.spans,
        )
        self._queue = Queue(
            self._log,
            self._dead_log,
            _queue_config(settings),
            self._observer,
            clock=SystemClock(),
            random=random.Random(),
            incarnation=incarnation,
        )
        self._pool = Pool(
            _delivery_config(settings, connections.idle),
            self._queue.bodies,
            failed=partial(self._queue.fail, LogName.TRANSACTION),
        )
        self._pool.settler = self._queue
        self._listener = Listener(
            self._queue,
            IngressConfig(
                settings.listen.host,
                settings.listen.port,
                keys=settings.listen_keys,
                max_body=settings.max_body_bytes,
                max_connections=connections.callers,
            ),
            self._public_health,
            incarnation,
        )
        self._metrics = metrics(self._queue, self._pool, self._listener, self._log, self._dead_log)
        self._api = ApiServer(
            settings.api_listen.host,
            settings.api_listen.port,
            settings.api_keys,
            health=self.health,
            metrics=lambda: render(self._metrics),
            admin=self._queue.admin,
            events=events,
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
        return Otlp.open(SystemClock(), lambda: self._queue.now_us(), self._warn)

    def _warn(self, logger: str, text: str) -> None:
        self._events.library_warned(logger=logger, text=text, exc_info=None)

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return self._queue.in_flight

    @property
    def pending(self) -> int:
        """Messages that are neither delivered nor dead."""
        return self._queue.pending.index.count

    def health(self) -> Health:
        """Whether messages are accepted and the log is healthy."""
        if not self._started:
            return Health("starting")
        if self._queue.dead_letters.full:
            return Health("disk_full")
        refusal = self._queue.refusal()
        return Health(None if refusal is None else refusal.slug)

    def _public_health(self) -> PublicHealth:
        return _READY if self.health().is_ready else _NOT_READY

    async def start(self) -> None:
        """Recover, deliver what is pending, and listen.

        Raises:
            LogLocked, LogCorrupt, PortTaken, ConfigError: nothing is listened on; call `abort`.
        """
        began = time.monotonic()
        await self._recover()
        await self._api.start()
        await self._listener.start()
        self._pool.set_own_listeners([*self._listener.bound, *self._api.bound])
        self._queue.start(self._pool)
        self._started = True
        self._events.server_ready(
            listen=[_text(*address) for address in self._listener.bound],
            api_listen=", ".join(_text(*address) for address in self._api.bound),
            pending=self.pending,
            took_ms=int((time.monotonic() - began) * 1000),
        )

    async def _recover(self) -> None:
        began = time.monotonic()
        await self._queue.open("dispatcher", 0)
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

    async def stop(self, drain_timeout_s: float) -> int:
        """Accept nothing more, let attempts end for a while, write down how they ended, and close.

        Returns the exit code: 0, or 1 when the log failed meanwhile.
        """
        self._queue.close_intake()
        self._listener.stop_accepting()
        drained = await self._queue.drain(drain_timeout_s)
        if not drained:
            self._events.server_abandoned(in_flight=self._queue.in_flight)
        await self._queue.committer.flush()
        await self._api.stop()
        await self._listener.close()
        await self._pool.close()
        await self._queue.stop()
        if self._tracing is not None:
            await self._tracing.close()
        return 1 if self.failed.is_set() else 0

    async def abort(self) -> None:
        """Close without waiting for attempts: the log failed, or the start did."""
        self._queue.close_intake()
        if self._started:
            await asyncio.sleep(_FAREWELL_S)
        await self._api.stop()
        await self._listener.close()
        await self._pool.close()
        await self._queue.stop()
        if self._tracing is not None:
            await self._tracing.close()


def _queue_config(settings: Settings) -> QueueConfig:
    return QueueConfig(
        RetryPolicy(
            retry_limit=settings.retry_limit,
            delay_ms=settings.retry_delay_ms,
            max_delay_ms=settings.retry_max_delay_ms,
            retry_on=settings.retry_on,
            ack_any_response=settings.ack_any_response,
        ),
        workers=settings.worker,
        max_backlog_bytes=settings.max_backlog_bytes,
        keep_everything=settings.event_sourcing,
        retention=RetentionPolicy(
            max_age_ms=settings.dead_letter_retention_ms,
            max_bytes=settings.dead_letter_max_bytes,
        ),
    )


def _delivery_config(settings: Settings, max_idle: int) -> DeliveryConfig:
    return DeliveryConfig(
        default_timeout_ms=settings.default_timeout_ms,
        egress=EgressPolicy.parse(
            settings.egress.value, settings.egress_allow, settings.egress_deny
        ),
        max_idle_total=max_idle,
    )


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
