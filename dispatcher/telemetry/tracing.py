"""Spans: what OpenTelemetry is told about a message. Only imported with `TRACING`.

    caller's span ─┬─ accept    PRODUCER  from the request to the moment it is durable
                   ├─ attempt   CLIENT    one for each try, linked to `accept`
                   └─ attempt

A message without a usable `traceparent` has a trace of its own, with `accept` as its root. The ids
of `accept` come from the message alone: an attempt after a restart finds them again, and nothing
about spans is kept in memory or in the log.

Attributes are those of the semantic conventions for messaging and HTTP clients, as far as they can
hold no secret: no header, no body, and nothing of the target, because webhooks often have their key
in the path. Everything runs on the event loop's thread and does no I/O: spans that ended are handed
to the provider's processor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dispatcher import __version__
from dispatcher.core.clock import Clock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult

Attributes = dict[str, str | int]

_ACCEPT: Final = "accept"
_ATTEMPT: Final = "attempt"
SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_TRACEPARENT: Final = re.compile(rb"\r\ntraceparent:([^\r]*)", re.IGNORECASE)
_TRACESTATE: Final = re.compile(rb"\r\ntracestate:([^\r]*)", re.IGNORECASE)
_PROPAGATOR: Final = TraceContextTextMapPropagator()
# Methods that the conventions know; any token is one, and callers must not make up our attributes.
_METHODS: Final = frozenset(
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"]
)


class MessageIds(RandomIdGenerator):
    """Gives the next span the ids it was told; what nobody told is random.

    A generator is asked without an argument, so the ids are left here just before. One thread makes
    all spans.
    """

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0

    def generate_trace_id(self) -> int:
        """See `IdGenerator`."""
        trace_id, self.trace_id = self.trace_id, 0
        return trace_id or super().generate_trace_id()

    def generate_span_id(self) -> int:
        """See `IdGenerator`."""
        span_id, self.span_id = self.span_id, 0
        return span_id or super().generate_span_id()


class Place(NamedTuple):
    """Where the spans of a message belong: `caller` is the span it was sent in, None when there is
    none; `accept` is the context of our first one, whether it is in memory or not."""

    caller: SpanContext | None
    accept: SpanContext


def place(message: Message) -> Place:
    """Where the spans of a durable message belong: the same at every call, in every process."""
    digest = blake2b(message.wire_id, digest_size=24).digest()
    span_id = int.from_bytes(digest[16:]) or 1  # 0 is no id
    caller = caller_of(message.head)
    if caller is None:
        return Place(None, SpanContext(int.from_bytes(digest[:16]) or 1, span_id, False, SAMPLED))
    return Place(caller, SpanContext(caller.trace_id, span_id, False, SAMPLED, caller.trace_state))


def caller_of(head: bytes) -> SpanContext | None:
    """The span named by the `traceparent` of a request; None when there is none, or no valid one.

    Of several it is not known which is meant: they count as none (W3C Trace Context, 3.2.1).
    `tracestate` may be on several lines, which count as one list in their order.
    """
    parents = _TRACEPARENT.findall(head)
    if len(parents) != 1:
        return None
    carrier = {"traceparent": [_text(parents[0])]}
    if states := _TRACESTATE.findall(head):
        carrier["tracestate"] = [_text(state) for state in states]
    found = get_current_span(_PROPAGATOR.extract(carrier, Context())).get_span_context()
    return found if found.is_valid else None


class Spans:
    """Makes the spans of one server.

    `provider` has `ids` as its generator. `queue_now_us` is the clock that `Message.started_at` is
    from; `clock` has the wall clock, which spans show.
    """

    def __init__(
        self,
        provider: TracerProvider,
        ids: MessageIds,
        clock: Clock,
        queue_now_us: Callable[[], int],
    ) -> None:
        self._tracer = provider.get_tracer("dispatcher", __version__)
        self.sampler = provider.sampler
        self._ids = ids
        self._clock = clock
        self._queue_now_us = queue_now_us

    def accepted(self, message: Message) -> None:
        """A message is durable."""
        where = place(message)
        if where.caller is not None and not where.caller.trace_flags.sampled:
            return
        end_us = self._clock.now_us()
        span = self.start(
            _ACCEPT,
            inside(where.caller),
            SpanKind.PRODUCER,
            _of_message(message),
            start_us=min(message.accepted_at, end_us),
            own=where.accept,
        )
        span.end(end_us * 1000)

    def start(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link] = (),
        *,
        start_us: int,
        own: SpanContext | None = None,
    ) -> Span:
        """Begin a span; with the ids of `own`, where that is given."""
        if own is not None:
            self._ids.trace_id, self._ids.span_id = own.trace_id, own.span_id
        return self._tracer.start_span(
            name, context, kind, attributes, links, start_time=start_us * 1000
        )

    def delivered(self, message: Message, status: int) -> None:
        """An attempt ended with success."""
        self._attempted(
            message, {"http.response.status_code": status, "dispatcher.outcome": "delivered"}
        )

    def failed(self, message: Message, result: AttemptResult, *, is_last: bool) -> None:
        """An attempt was not a success."""
        ended: Attributes = {
            "error.type": _error_type(result),
            "dispatcher.outcome": "dead" if is_last else "retry",
        }
        if result.status is not None:
            ended["http.response.status_code"] = result.status
        # A status says it all; what else can go wrong is in the words of the log.
        detail = None if result.failure is None else result.detail
        self._attempted(message, ended, Status(StatusCode.ERROR, detail))

    def _attempted(self, message: Message, ended: Attributes, status: Status | None = None) -> None:
        where = place(message)
        if not self._is_sampled(message, where):
            return
        end_us = self._clock.now_us()
        start_us = end_us - max(0, self._queue_now_us() - message.started_at)
        span = self.start(
            _ATTEMPT,
            inside(where.caller or where.accept),
            SpanKind.CLIENT,
            _of_attempt(message) | ended,
            [Link(where.accept)],
            start_us=start_us,
        )
        if status is not None:
            span.set_status(status)
        span.end(end_us * 1000)

    def _is_sampled(self, message: Message, where: Place) -> bool:
        """Whether `accept` was recorded: its attempts are too, and only then.

        Where there is a caller it decides. Else the sampler is asked once more what it said then:
        all of OpenTelemetry's own decide by the trace id, and say the same after a restart.
        """
        if where.caller is not None:
            return where.caller.trace_flags.sampled
        answer = self.sampler.should_sample(
            Context(), where.accept.trace_id, _ACCEPT, SpanKind.PRODUCER, _of_message(message), ()
        )
        return answer.decision is Decision.RECORD_AND_SAMPLE


def _of_message(message: Message) -> Attributes:
    found: Attributes = {
        "messaging.system": "dispatcher",
        "messaging.operation.name": _ACCEPT,
        "messaging.operation.type": "send",
        "messaging.destination.name": str(message.destination),
        "messaging.message.id": message.wire_id.decode("ascii"),
        "messaging.message.body.size": message.body_size,
        "http.request.method": _method(message),
    }
    if message.label:
        found["dispatcher.label"] = message.label
    return found


def _of_attempt(message: Message) -> Attributes:
    destination = message.destination
    found: Attributes = {
        "messaging.message.id": message.wire_id.decode("ascii"),
        "dispatcher.attempt": message.attempt,
        "http.request.method": _method(message),
        "url.scheme": destination.scheme,
        "server.address": destination.host,
        "server.port": destination.port,
    }
    if message.attempt > 1:
        found["http.request.resend_count"] = message.attempt - 1
    if message.redrives:
        found["dispatcher.redrives"] = message.redrives
    if message.label:
        found["dispatcher.label"] = message.label
    return found


def _method(message: Message) -> str:
    method = message.method
    return method if method in _METHODS else "_OTHER"


def _error_type(result: AttemptResult) -> str:
    return str(result.status) if result.failure is None else result.failure.value


def inside(parent: SpanContext | None) -> Context:
    """A context with this parent, or an empty one: never that of whoever calls us."""
    if parent is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \t")
