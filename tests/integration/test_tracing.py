"""Trace context and spans of the real server: headers on real sockets, and a collector that reads
what is exported."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dispatcher.testing.destination import Wait, answer
from dispatcher.testing.process import ServerProcess
from tests.acceptance.functions import Client, Endpoint, Http, Reply, exits
from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import ROOT, run
from tests.acceptance.wire import ask, post, request

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"traceparent: 00-{TRACE}-{PARENT}-01"


class Collector:
    """An OTLP/HTTP endpoint. `spans` are what came, `status` what it answers while `answering`."""

    def __init__(self) -> None:
        self.status = 200
        self.answering = threading.Event()
        self.answering.set()
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.posts: list[tuple[str, str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a server export to it, without waiting long."""
        return {
            "TRACING": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=mine",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "NO_PROXY": "127.0.0.1",
        }

    def named(self, name: str, count: int = 1) -> list[Span]:
        """Wait for this many spans of a name, and return them."""

        def found() -> list[Span] | None:
            spans = [span for span in list(self.spans) if span.name == name]
            return spans if len(spans) >= count else None

        return eventually(found) or []

    def close(self) -> None:
        """Stop listening."""
        self.answering.set()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector._take(self.path, self.headers, body)
                collector.answering.wait(30)
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler

    def _take(self, path: str, headers: object, body: bytes) -> None:
        get: Callable[[str], str] = getattr(headers, "get")  # noqa: B009 # http.client.HTTPMessage
        self.posts.append((path, get("Content-Type"), get("x-tenant")))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                one.value.string_value
                for one in resource.resource.attributes
                if one.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector for one test."""
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def receivers() -> Iterator[Receivers]:
    """The thread that all destinations run in."""
    made = Receivers()
    yield made
    made.close()


@pytest.fixture
def receiver(receivers: Receivers) -> Iterator[Receiver]:
    """A destination for one test; it answers 200 until told otherwise."""
    with receivers.open() as made:
        yield made


def attributes(span: Span) -> dict[str, str | int]:
    """The attributes of a span, in plain values."""
    return {
        one.key: one.value.string_value
        if one.value.HasField("string_value")
        else one.value.int_value
        for one in span.attributes
    }


# The caller's headers


@pytest.mark.parametrize(
    "lines",
    [
        (TRACEPARENT, "tracestate: a=1,b=2"),
        (TRACEPARENT, "tracestate: a=1", "X-Other: y", "tracestate: b=2", "tracestate:"),
        (f"TraceParent:00-{TRACE}-{PARENT}-00", "TRACESTATE:  a=1 , b=2 "),
        (f"traceparent: ff-{TRACE}-{PARENT}-01-future", "traceparent: nonsense"),
        ("tracestate: only=1",),
    ],
)
@pytest.mark.parametrize("tracing", [False, True])
def test_trace_context_is_forwarded_byte_for_byte_whether_spans_are_made_or_not(
    tmp_path: Path,
    receiver: Receiver,
    collector: Collector,
    lines: tuple[str, ...],
    tracing: bool,
) -> None:
    """On the first attempt and on a retry: nothing is added, joined, rewritten or taken out."""
    receiver.script(answer(503))
    settings = {"RETRY_DELAY": "1", **(collector.environment if tracing else {})}
    with ServerProcess(tmp_path, **settings) as server:
        sent = request(
            "GET /x HTTP/1.1", "Host: h", f"X-Dispatcher-Origin-Host: {receiver.authority}", *lines
        )
        number = ask(server.listen, sent).id
        for attempt, one in enumerate(receiver.received(2), 1):
            came = one.head.decode().removesuffix("\r\n\r\n").split("\r\n")[2:]
            assert [line.strip() for line in came] == [
                *(line.strip() for line in lines),
                f"X-Dispatcher-Message-Id: {number}",
                f"X-Dispatcher-Attempt: {attempt}",
            ]


# Spans


def test_collector_gets_the_spans_of_a_message_that_was_retried(
    tmp_path: Path, receiver: Receiver, collector: Collector
) -> None:
    """In the caller's trace, with where they went and how they ended; the last one at the stop."""
    receiver.script(answer(503))
    with ServerProcess(tmp_path, **collector.environment, RETRY_DELAY="1") as server:
        sent = post(receiver.authority, TRACEPARENT, path="/secret?token=secret", body=b"secret")
        number = ask(server.listen, sent).id
        receiver.received(2)
        assert server.stop() == 0
    (accept,) = collector.named("accept")
    first, second = sorted(
        collector.named("attempt", 2), key=lambda span: span.start_time_unix_nano
    )
    for span in (accept, first, second):
        assert span.trace_id.hex() == TRACE
        assert span.parent_span_id.hex() == PARENT
        assert attributes(span)["messaging.message.id"] == number
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano <= time.time_ns()
        assert b"secret" not in span.SerializeToString()
    for span in (first, second):
        assert [link.span_id for link in span.links] == [accept.span_id]
        assert attributes(span)["server.port"] == receiver.fake.port
    assert (accept.kind, first.kind) == (Span.SPAN_KIND_PRODUCER, Span.SPAN_KIND_CLIENT)
    assert attributes(first)["http.response.status_code"] == 503
    assert attributes(first)["error.type"] == "503"
    assert attributes(second)["http.response.status_code"] == 200
    assert attributes(second)["dispatcher.attempt"] == 2
    assert first.status.code != 0
    assert second.status.code == 0
    assert collector.services == {"dispatcher"}
    assert set(collector.posts) == {("/v1/traces", "application/x-protobuf", "mine")}


def test_collector_gets_the_spans_of_a_call_whose_run_was_repeated(
    tmp_path: Path, collector: Collector
) -> None:
    """In the trace of its Dispatch, linked to the moment at which it was made."""
    replies: Iterator[Reply] = iter([Http(503), exits(b"secret")])
    with (
        Endpoint(lambda run: next(replies)) as endpoint,
        ServerProcess(tmp_path, **collector.environment, CALL_RETRY_DELAY="1") as server,
    ):
        client = Client(server)
        (number,) = client.dispatch(endpoint.call("work"), headers=(TRACEPARENT,))
        client.output(number)
        assert server.stop() == 0
    (accept,) = collector.named("accept")
    first, second = sorted(collector.named("run", 2), key=lambda span: span.start_time_unix_nano)
    for span in (accept, first, second):
        assert span.trace_id.hex() == TRACE
        assert span.parent_span_id.hex() == PARENT
        assert attributes(span)["dispatcher.call.id"] == number
        assert b"secret" not in span.SerializeToString()
    for span in (first, second):
        assert [link.span_id for link in span.links] == [accept.span_id]
    assert (attributes(first)["http.response.status_code"], first.status.code != 0) == (503, True)
    assert (attributes(second)["dispatcher.status"], second.status.code) == ("ok", 0)


def test_attempt_is_linked_to_accept_when_the_server_was_killed_between_them(
    tmp_path: Path, receiver: Receiver, collector: Collector
) -> None:
    """Another process makes the attempt; nothing about spans is in the log."""
    receiver.script([Wait(600)])
    with ServerProcess(tmp_path, **collector.environment) as server:
        ask(server.listen, post(receiver.authority))
        receiver.received(1)
        (accept,) = collector.named("accept")
        server.kill()
    with ServerProcess(tmp_path, **collector.environment):
        receiver.received(2)
        (attempt,) = collector.named("attempt")
    assert attempt.trace_id == accept.trace_id
    assert attempt.parent_span_id == accept.span_id
    assert [link.span_id for link in attempt.links] == [accept.span_id]
    assert accept.parent_span_id == b""


def test_no_spans_are_exported_when_the_caller_was_not_sampled(
    tmp_path: Path, receiver: Receiver, collector: Collector
) -> None:
    """A message of a caller that was sampled is, beside it."""
    with ServerProcess(tmp_path, **collector.environment) as server:
        ask(server.listen, post(receiver.authority, TRACEPARENT[:-1] + "0"))
        number = ask(server.listen, post(receiver.authority, TRACEPARENT)).id
        receiver.received(2)
        assert server.stop() == 0
    assert {attributes(span)["messaging.message.id"] for span in collector.spans} == {number}
    assert len(collector.spans) == 2


# When something is wrong


@pytest.mark.parametrize("how", ["refuses", "answers 503", "hangs"])
def test_stop_is_not_held_up_when_the_collector_is_away(
    tmp_path: Path, receiver: Receiver, collector: Collector, how: str
) -> None:
    """Messages are delivered all the same, the log says it once, and the exit code is 0."""
    collector.status = 503
    if how == "refuses":
        collector.close()
    elif how == "hangs":
        collector.answering.clear()
    # The library would wait for 30 s at its end, longer than this waits for the process.
    environment = {**collector.environment, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
    with ServerProcess(tmp_path, (), 25.0, **environment) as server:
        for _ in range(50):
            ask(server.listen, post(receiver.authority))
        receiver.received(50)
        if how != "hangs":  # an export has 600 s until it fails
            server.event("library.warned")
        assert server.stop() == 0
    assert server.lines[-1]["event"] == "server.stopped"
    assert len(server.events("library.warned")) <= 2
    assert server.stderr == ""


@pytest.mark.parametrize("missing", ["opentelemetry/sdk", "opentelemetry/exporter"])
def test_server_ends_with_2_and_says_what_to_install_when_the_extra_is_missing(
    tmp_path: Path, missing: str
) -> None:
    """One line that names the setting; nothing is made."""
    hidden = tmp_path / "hidden" / missing
    hidden.mkdir(parents=True)
    for folder in (hidden, hidden.parent):
        (folder / "__init__.py").write_text(
            "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
        )
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('hidden', name=__name__)\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    path = os.pathsep.join([str(tmp_path / "hidden"), str(ROOT)])
    result = run(
        empty, TRACING="otlp", PYTHONPATH=path, LISTEN="127.0.0.1:0", API_LISTEN="127.0.0.1:0"
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert "TRACING=otlp" in result.stderr
    assert "pip install '.[otel]'" in result.stderr
    assert list(empty.iterdir()) == []


def test_server_ends_with_2_when_opentelemetry_cannot_use_its_variables(tmp_path: Path) -> None:
    """One line, as for our own settings."""
    loopback = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0"}
    result = run(tmp_path, TRACING="otlp", **loopback, OTEL_BSP_MAX_QUEUE_SIZE="0")
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert "TRACING=otlp: expected OTEL_*" in result.stderr
    assert "Traceback" not in result.stderr


def test_server_ends_with_3_when_a_port_is_taken_and_spans_are_wanted(
    tmp_path: Path, collector: Collector
) -> None:
    """A start that fails is not held up by the thread that exports."""
    taken = collector.environment["OTEL_EXPORTER_OTLP_ENDPOINT"].removeprefix("http://")
    result = run(tmp_path, **collector.environment, LISTEN=taken, API_LISTEN="127.0.0.1:0")
    assert result.returncode == 3, result.stderr
    assert result.stderr.count("\n") == 1
