"""Where spans go: OTLP over HTTP, in a thread of its own. Only imported with `TRACING=otlp`.

Endpoint, headers, sampler and limits are OpenTelemetry's own `OTEL_*` variables. Spans wait in a
bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`); what doesn't fit is lost. Nothing here may hold up a
delivery or the end of the process, and an endpoint that is away is one line a minute.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from dispatcher import __version__
from dispatcher.core.clock import Clock
from dispatcher.errors import ConfigError
from dispatcher.telemetry.call_spans import CallSpans
from dispatcher.telemetry.tracing import MessageIds, Spans

Warn = Callable[[str, str], None]
"""Takes the name of a logger and a text."""

_FLUSH_S: Final = 1.0
"""How long the stop waits for the last spans: they are worth less than a quick restart."""

_QUIET_S: Final = 60.0
_LOGGERS: Final = ("opentelemetry", "urllib3")
_UNNAMED: Final = "unknown_service"


class Otlp:
    """The spans of one server and the thread that exports them, until `close`."""

    def __init__(self, provider: TracerProvider, spans: Spans, warn: Warn) -> None:
        self.spans = spans
        self.calls = CallSpans(spans)
        self._provider = provider
        self._warn = warn
        self._is_closed = False

    @classmethod
    def open(cls, clock: Clock, queue_now_us: Callable[[], int], warn: Warn) -> Otlp:
        """Start the thread. `warn` is called on the running loop.

        Raises:
            ConfigError: an `OTEL_*` variable cannot be used.
        """
        _quieten(asyncio.get_running_loop(), warn)
        try:
            return cls.over(OTLPSpanExporter(), clock, queue_now_us, warn)
        except ValueError as error:
            raise ConfigError(
                f"TRACING=otlp: expected OTEL_* variables that OpenTelemetry can use: {error}"
            ) from error

    @classmethod
    def over(
        cls, exporter: SpanExporter, clock: Clock, queue_now_us: Callable[[], int], warn: Warn
    ) -> Otlp:
        """Start the thread, with any exporter.

        Raises:
            ValueError: an `OTEL_*` variable cannot be used.
        """
        ids = MessageIds()
        # At exit it would wait for the endpoint; `close` doesn't.
        provider = TracerProvider(resource=_resource(), id_generator=ids, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider, Spans(provider, ids, clock, queue_now_us), warn)

    async def close(self, deadline_s: float = _FLUSH_S) -> None:
        """Export what waits, for `deadline_s` at most. Idempotent.

        The SDK's own deadline is 30 s, and it blocks. So this is done by a thread that is left
        behind when time is up, and ends with the process.
        """
        if self._is_closed:
            return
        self._is_closed = True
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            _call(loop, done.set)

        threading.Thread(target=shut_down, name="spans", daemon=True).start()
        try:
            async with asyncio.timeout(deadline_s):
                await done.wait()
        except TimeoutError:
            self._warn(
                "opentelemetry", "the last spans are lost: they could not be exported in time"
            )


class Rarely(logging.Handler):
    """Passes a warning on, and no other for a while: an exporter whose endpoint is away, or whose
    queue is full, would say so with every batch or span."""

    def __init__(
        self,
        warn: Warn,
        *,
        every_s: float = _QUIET_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn
        self._every_s = every_s
        self._now_s = now_s
        self._next_s = float("-inf")
        self._held_back = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record, in any thread. Tracebacks are left out: they are the library's."""
        now = self._now_s()
        if now < self._next_s:
            self._held_back += 1
            return
        text = record.getMessage()
        if self._held_back:
            text += f" ({self._held_back} more warnings since the last line)"
        self._next_s = now + self._every_s
        self._held_back = 0
        self._warn(record.name, text)


def _quieten(loop: asyncio.AbstractEventLoop, warn: Warn) -> None:
    """Have warnings of the SDK and its HTTP client passed on rarely, and by the loop's thread: the
    log is not made for two. The loggers are the process's, and so is this server."""
    handler = Rarely(lambda name, text: _call(loop, warn, name, text))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False


def _call(loop: asyncio.AbstractEventLoop, what: Callable[..., object], *args: object) -> None:
    with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
        loop.call_soon_threadsafe(what, *args)


def _resource() -> Resource:
    """Who we are: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and where they say nothing,
    `dispatcher`."""
    given = Resource.create()
    ours = Resource({SERVICE_VERSION: __version__}).merge(given)
    if str(given.attributes[SERVICE_NAME]).startswith(_UNNAMED):
        ours = ours.merge(Resource({SERVICE_NAME: "dispatcher"}))
    return ours
