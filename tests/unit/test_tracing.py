"""Spans: whose children they are, what is on them, what never is, and where they go."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from dispatcher.core.destination import Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.terms import Terms
from dispatcher.node.observer import EventObserver
from dispatcher.queue.admin.watching import Watch
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import Level, open_log
from dispatcher.telemetry.otlp import Otlp, Rarely
from dispatcher.telemetry.tracing import MessageIds, Spans, caller_of
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.queue import Bench, failed, simulate
from dispatcher.testing.queue import message as plain_message

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-01"
NOT_SAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-00"


class Traced:
    """The spans of one process, which end up in `ended`."""

    def __init__(self, sampler: Sampler = DEFAULT_ON, clock: SimulatedClock | None = None) -> None:
        self.clock = clock or SimulatedClock()
        self._exporter = InMemorySpanExporter()
        ids = MessageIds()
        provider = TracerProvider(sampler, id_generator=ids, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = Spans(provider, ids, self.clock, self._queue_now_us)
        self._offset_us = self.clock.now_us() - self.clock.monotonic_us()

    def _queue_now_us(self) -> int:
        return self._offset_us + self.clock.monotonic_us()

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        """Every span so far, in the order of their ends."""
        return self._exporter.get_finished_spans()

    def start(self, message: Message) -> None:
        """Begin the next attempt, as the queue does."""
        message.attempt += 1
        message.started_at = self._queue_now_us()


def message(*lines: str, number: int = 7, origin: str = "https://a.example:8443/base") -> Message:
    """A durable message with these header lines."""
    head = "".join(f"{line}\r\n" for line in ("Host: h", *lines))
    made = Message(
        Origin.parse(origin.encode()).destination,
        b"POST /base/key-in-path?token=in-query HTTP/1.1\r\n" + head.encode("latin-1"),
        b"secret-body",
        timeout_ms=0,
        accepted_at=SimulatedClock().now_us(),
    )
    made.wire_id = b"00010000002a%016x" % number
    return made


def context(span: ReadableSpan) -> tuple[str, str]:
    """Trace id and span id, in hex."""
    assert span.context is not None
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)


def parent(span: ReadableSpan) -> str | None:
    """The parent's span id, in hex."""
    return None if span.parent is None else format_span_id(span.parent.span_id)


def linked(span: ReadableSpan) -> list[tuple[str, str]]:
    """What a span is linked to."""
    return [
        (format_trace_id(one.context.trace_id), format_span_id(one.context.span_id))
        for one in span.links
    ]


# Whose children


def test_spans_are_children_of_the_caller_and_attempts_linked_to_accept() -> None:
    """All in the caller's trace."""
    traced, one = Traced(), message(SAMPLED)
    traced.spans.accepted(one)
    traced.start(one)
    traced.spans.delivered(one, 200)
    accept, attempt = traced.ended
    assert (accept.name, accept.kind) == ("accept", SpanKind.PRODUCER)
    assert (attempt.name, attempt.kind) == ("attempt", SpanKind.CLIENT)
    assert {context(accept)[0], context(attempt)[0]} == {TRACE}
    assert parent(accept) == parent(attempt) == PARENT
    assert linked(attempt) == [context(accept)]
    assert linked(accept) == []
    assert context(accept)[1] != context(attempt)[1]


def test_spans_are_a_trace_of_their_own_when_there_is_no_caller() -> None:
    """With `accept` as its root."""
    traced, one = Traced(), message()
    traced.spans.accepted(one)
    for _ in range(2):
        traced.start(one)
        traced.spans.failed(one, failed(503), is_last=False)
    accept, first, second = traced.ended
    assert parent(accept) is None
    assert parent(first) == parent(second) == context(accept)[1]
    assert {context(span)[0] for span in traced.ended} == {context(accept)[0]}
    assert len({context(span)[1] for span in traced.ended}) == 3


def test_traces_differ_when_messages_do() -> None:
    """No two messages share a trace or a span."""
    traced = Traced()
    for number in range(100):
        traced.spans.accepted(message(number=number))
    assert len({context(span)[0] for span in traced.ended}) == 100
    assert len({context(span)[1] for span in traced.ended}) == 100


@pytest.mark.parametrize("lines", [(), (SAMPLED,)])
def test_accept_is_found_again_when_another_process_makes_the_attempt(
    lines: tuple[str, ...],
) -> None:
    """Its ids come from the message alone."""
    before, after, one = Traced(), Traced(), message(*lines)
    before.spans.accepted(one)
    again = message(*lines)
    after.start(again)
    after.spans.delivered(again, 200)
    assert linked(after.ended[0]) == [context(before.ended[0])]


def test_accept_is_found_again_when_the_queue_was_crashed_and_recovered() -> None:
    """The whole way: a real queue, its log, and its observer."""
    traced: list[Traced] = []

    def observed(clock: SimulatedClock) -> EventObserver:
        traced.append(Traced(clock=clock))
        events = Events(open_log(lambda line: None, level="error", format="json"))
        return EventObserver(events, paths={}, on_log_failed=lambda: None, spans=traced[-1].spans)

    async def test(bench: Bench) -> None:
        bench.accept(plain_message())
        await asyncio.sleep(0.01)
        await bench.crash()
        await bench.start()
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0])
        await bench.stop()

    simulate(test, observed=observed)
    (accept,), (attempt,) = traced[0].ended, traced[1].ended
    assert linked(attempt) == [context(accept)]
    assert parent(attempt) == context(accept)[1]


@pytest.mark.parametrize(
    "lines",
    [
        (f"traceparent: 00-{'0' * 32}-{PARENT}-01",),
        (f"traceparent: 00-{TRACE}-{'0' * 16}-01",),
        (f"traceparent: ff-{TRACE}-{PARENT}-01",),
        (f"traceparent: 00-{TRACE}-{PARENT}",),
        (f"traceparent: 00-{TRACE}-{PARENT}-01-more",),
        (f"traceparent: 00-{TRACE.upper()}-{PARENT}-01",),
        ("traceparent: ",),
        ("traceparent: \xff",),
        (SAMPLED, SAMPLED),
        (f"x-traceparent: 00-{TRACE}-{PARENT}-01",),
        (f"x: traceparent: 00-{TRACE}-{PARENT}-01",),
    ],
)
def test_caller_is_none_when_its_traceparent_is_not_valid_or_not_the_only_one(
    lines: tuple[str, ...],
) -> None:
    """W3C Trace Context: such a header is passed over, and a trace of our own begins."""
    assert caller_of(message(*lines).head) is None


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TRACEPARENT", "TraceParent"])
@pytest.mark.parametrize("value", ["00-%s-%s-01", "  00-%s-%s-01\t", "cc-%s-%s-01-later"])
def test_caller_is_found_when_the_header_is_spelt_in_any_way(name: str, value: str) -> None:
    """Names have no case, blanks around the value don't count, and later versions may say more."""
    found = caller_of(message(f"{name}:{value % (TRACE, PARENT)}").head)
    assert found is not None
    assert format_trace_id(found.trace_id) == TRACE
    assert found.is_remote


def test_tracestate_is_one_list_when_it_is_on_several_lines() -> None:
    """In their order; the spans carry it on."""
    traced = Traced()
    traced.spans.accepted(message(SAMPLED, "tracestate: a=1,b=2", "X: y", "Tracestate: c=3"))
    (accept,) = traced.ended
    assert accept.context is not None
    assert list(accept.context.trace_state.items()) == [("a", "1"), ("b", "2"), ("c", "3")]


# Sampling


@pytest.mark.parametrize("sampler", [DEFAULT_ON, ALWAYS_ON, ParentBasedTraceIdRatio(1.0)])
def test_nothing_is_recorded_when_the_caller_was_not_sampled(sampler: Sampler) -> None:
    """Whatever our own sampler would say."""
    traced, one = Traced(sampler), message(NOT_SAMPLED)
    traced.spans.accepted(one)
    traced.start(one)
    traced.spans.failed(one, failed(503), is_last=True)
    assert traced.ended == ()


@pytest.mark.parametrize("lines", [(), (SAMPLED,)])
def test_nothing_is_recorded_when_the_sampler_is_off(lines: tuple[str, ...]) -> None:
    """OTEL_TRACES_SAMPLER=always_off."""
    traced, one = Traced(ALWAYS_OFF), message(*lines)
    traced.spans.accepted(one)
    traced.start(one)
    traced.spans.delivered(one, 200)
    assert traced.ended == ()


@pytest.mark.parametrize("sampler", [TraceIdRatioBased(0.5), ParentBasedTraceIdRatio(0.5)])
def test_attempts_are_recorded_when_accept_was_and_only_then(sampler: Sampler) -> None:
    """Also by another process: half of the messages, and each of them whole."""
    before, after = Traced(sampler), Traced(sampler)
    for number in range(200):
        before.spans.accepted(message(number=number))
        again = message(number=number)
        after.start(again)
        after.spans.delivered(again, 200)
    accepts = [context(span) for span in before.ended]
    assert 50 < len(accepts) < 150
    assert [linked(span) for span in after.ended] == [[one] for one in accepts]


# What is on them


def test_attributes_of_accept_are_those_of_the_conventions() -> None:
    """Of messaging, and the method."""
    traced, one = Traced(), message()
    traced.spans.accepted(one)
    assert dict(traced.ended[0].attributes or {}) == {
        "messaging.system": "dispatcher",
        "messaging.operation.name": "accept",
        "messaging.operation.type": "send",
        "messaging.destination.name": "https://a.example:8443",
        "messaging.message.id": one.wire_id.decode(),
        "messaging.message.body.size": 11,
        "http.request.method": "POST",
    }
    assert traced.ended[0].status.status_code is StatusCode.UNSET


def test_attributes_of_an_attempt_are_those_of_the_conventions() -> None:
    """Of HTTP clients, the message and its attempt."""
    traced, one = Traced(), message()
    one.attempt, one.redrives = 2, 1
    traced.start(one)
    traced.spans.delivered(one, 204)
    assert dict(traced.ended[0].attributes or {}) == {
        "messaging.message.id": one.wire_id.decode(),
        "dispatcher.attempt": 3,
        "dispatcher.redrives": 1,
        "dispatcher.outcome": "delivered",
        "http.request.method": "POST",
        "http.request.resend_count": 2,
        "http.response.status_code": 204,
        "url.scheme": "https",
        "server.address": "a.example",
        "server.port": 8443,
    }


def test_label_is_an_attribute_where_there_is_one() -> None:
    """Of both spans."""
    traced, one = Traced(), message()
    one.terms = Terms(label="orders")
    traced.spans.accepted(one)
    traced.start(one)
    traced.spans.delivered(one, 204)
    assert [(span.attributes or {})["dispatcher.label"] for span in traced.ended] == ["orders"] * 2
    assert traced.ended[0].status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("result", "error", "status", "description"),
    [
        (failed(503), "503", 503, None),
        (failed(404), "404", 404, None),
        (failed(None, Failure.TIMEOUT), "timeout", None, "as told"),
        (failed(200, Failure.BROKEN), "broken_response", 200, "as told"),
        *((failed(None, one), one.value, None, "as told") for one in Failure),
    ],
)
@pytest.mark.parametrize(("is_last", "outcome"), [(False, "retry"), (True, "dead")])
def test_attempt_is_an_error_when_it_failed(
    result: AttemptResult,
    error: str,
    status: int | None,
    description: str | None,
    is_last: bool,
    outcome: str,
) -> None:
    """`error.type` is our slug, or the status where there was a whole response."""
    traced, one = Traced(), message()
    traced.start(one)
    traced.spans.failed(one, result, is_last=is_last)
    (attempt,) = traced.ended
    found = attempt.attributes or {}
    assert attempt.status.status_code is StatusCode.ERROR
    assert attempt.status.description == description
    assert found["error.type"] == error
    assert found.get("http.response.status_code") == status
    assert found["dispatcher.outcome"] == outcome


def test_method_is_other_when_the_conventions_do_not_know_it() -> None:
    """Any token is a method: callers must not fill an attribute with what they like."""
    traced, one = Traced(), message()
    one.head = one.head.replace(b"POST", b"X-MADE-UP")
    traced.spans.accepted(one)
    assert (traced.ended[0].attributes or {})["http.request.method"] == "_OTHER"


def test_spans_hold_no_secrets_whatever_is_in_the_message() -> None:
    """No body, no header, no path and no query."""
    traced, one = Traced(), message("Authorization: Bearer secret-key", "Cookie: secret-cookie")
    traced.spans.accepted(one)
    traced.start(one)
    traced.spans.failed(one, failed(500), is_last=True)
    text = "".join(span.to_json() for span in traced.ended)
    assert "a.example" in text
    for secret in ("secret", "token", "in-query", "key-in-path"):
        assert secret not in text


# When


def test_times_are_those_of_the_wall_clock_when_it_was_turned_meanwhile() -> None:
    """How long an attempt took is measured by the clock that never goes back."""
    traced, one = Traced(), message()
    traced.clock.advance(us=1500)
    traced.spans.accepted(one)
    traced.start(one)
    traced.clock.set_wall_clock(1_000_000_000)
    traced.clock.advance(us=250)
    traced.spans.delivered(one, 200)
    accept, attempt = traced.ended
    assert accept.start_time == one.accepted_at * 1000
    assert accept.end_time == (one.accepted_at + 1500) * 1000
    assert attempt.start_time == 1_000_000_000_000
    assert attempt.end_time == 1_000_000_250_000


def test_accept_is_not_negative_when_the_clock_went_back() -> None:
    """It takes no time then."""
    traced, one = Traced(), message()
    one.accepted_at += 5_000_000
    traced.spans.accepted(one)
    assert traced.ended[0].start_time == traced.ended[0].end_time


# The hook


@pytest.mark.parametrize("level", ["info", "debug"])
def test_observer_logs_what_goes_well_only_at_debug_when_spans_are_wanted(level: Level) -> None:
    """Spans change nothing about the lines."""
    lines: list[str] = []
    traced, one = Traced(), message()
    events = Events(open_log(lines.append, level=level, format="json"))
    observer = EventObserver(events, paths={}, on_log_failed=lambda: None, spans=traced.spans)
    watch = Watch(observer, traced.clock)
    assert watch.is_wanted
    watch.accepted(one)
    traced.start(one)
    watch.delivered(one, 200, 1)
    watch.attempt_failed(one, failed(503), None)
    names = [json.loads(line)["event"] for line in lines]
    well = ["message.accepted", "message.delivered"] if level == "debug" else []
    assert names == [*well, "attempt.finished"]
    assert [span.name for span in traced.ended] == ["accept", "attempt", "attempt"]


def test_queue_says_nothing_of_what_goes_well_when_there_are_no_spans() -> None:
    """The hot path asks one attribute, as before."""
    events = Events(open_log(lambda line: None, level="info", format="json"))
    observer = EventObserver(events, paths={}, on_log_failed=lambda: None)
    assert not Watch(observer, SimulatedClock()).is_wanted


def test_opentelemetry_is_not_imported_when_it_is_not_asked_for() -> None:
    """The server and its commands do without it."""
    code = (
        "import sys, dispatcher.cli.main, dispatcher.node.process\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == "[]\n"


# Where they go


class Stuck(SpanExporter):
    """An exporter that hangs until it is let go, whatever it is told."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.exported: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hang."""
        self.go_on.wait(10)
        self.exported += [span.name for span in spans]
        return SpanExportResult.SUCCESS


def opened(exporter: SpanExporter, said: list[str]) -> Otlp:
    """Spans that go to this exporter."""
    clock = SimulatedClock()
    return Otlp.over(exporter, clock, clock.now_us, lambda name, text: said.append(text))


async def test_close_gives_up_when_the_exporter_hangs() -> None:
    """The loop goes on meanwhile, and one line says that spans are lost."""
    said: list[str] = []
    stuck = Stuck()
    otlp = opened(stuck, said)
    otlp.spans.accepted(message())
    await otlp.close(0.05)
    assert stuck.exported == []
    assert len(said) == 1
    assert "lost" in said[0]
    stuck.go_on.set()


async def test_close_exports_what_waits_when_the_exporter_is_quick() -> None:
    """A second call does nothing."""
    said: list[str] = []
    quick = Stuck()
    quick.go_on.set()
    otlp = opened(quick, said)
    otlp.spans.accepted(message())
    await otlp.close(10)
    await otlp.close(10)
    assert quick.exported == ["accept"]
    assert said == []


async def test_spans_are_dropped_when_more_wait_than_the_queue_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest ones; nobody waits, and memory does not grow."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    stuck = Stuck()
    otlp = opened(stuck, [])
    for number in range(200):
        otlp.spans.accepted(message(number=number))
    stuck.go_on.set()
    await otlp.close(10)
    assert len(stuck.exported) <= 15  # the queue, and a batch that was under way


@pytest.mark.parametrize(
    ("environ", "name"),
    [({}, "dispatcher"), ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
     ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=ours,a=b"}, "ours")],
)  # fmt: skip
async def test_service_is_called_dispatcher_when_nobody_names_it(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], name: str
) -> None:
    """OpenTelemetry's variables win."""
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    resources: list[Any] = []

    class Kept(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            resources.extend(span.resource for span in spans)
            return SpanExportResult.SUCCESS

    otlp = opened(Kept(), [])
    otlp.spans.accepted(message())
    await otlp.close(10)
    assert [one.attributes["service.name"] for one in resources] == [name]


def test_warnings_are_passed_on_once_a_minute_when_there_are_many() -> None:
    """The next line says how many were held back."""
    said: list[str] = []
    now_s = 5.0
    logger = logging.Logger("opentelemetry.test")
    logger.addHandler(
        Rarely(lambda name, text: said.append(f"{name}: {text}"), now_s=lambda: now_s)
    )
    for number in range(1000):
        logger.warning("away %d", number)
        logger.info("fine")
    now_s += 60
    logger.error("still away")
    now_s += 61
    logger.error("and now")
    assert said == [
        "opentelemetry.test: away 0",
        "opentelemetry.test: still away (999 more warnings since the last line)",
        "opentelemetry.test: and now",
    ]
