"""Spans of function calls, beside those of messages (`tracing`). Only imported with `TRACING`.

    caller's span ─┬─ accept   PRODUCER  each call, at the moment it is made
                   ├─ run      CLIENT    one for each run, linked to `accept`
                   └─ run

All calls of a tree are in the trace of the Dispatch that made its root, or else in one of their
own, with the root's `accept` as its root. Ids come from those of the calls alone, so that a run
after a restart finds them again. Attributes hold nothing that a call was given.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from dispatcher.telemetry.tracing import SAMPLED, Attributes, Spans, caller_of, inside

_ACCEPT: Final = "accept"
_RUN: Final = "run"


class TracedCall(NamedTuple):
    """A call: ids as on the wire, and the header lines of its trace, "" without one."""

    id: str
    root_id: str
    function: str
    endpoint: str
    trace: str


class CallSpans:
    """Makes them, with the provider of `spans`."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def call(self, id: str, root_id: str, function: str, endpoint: str, trace: str) -> TracedCall:
        """A call, as the others take it."""
        return TracedCall(id, root_id, function, endpoint, trace)

    def created(self, call: TracedCall, at_us: int) -> None:
        """A call is durable."""
        caller, accept = _caller(call), _accept(call)
        if not self._is_sampled(call, caller):
            return
        parent = caller
        if caller is None and call.id != call.root_id:
            parent = _accept_of_root(call)
        self._spans.start(
            _ACCEPT,
            inside(parent),
            SpanKind.PRODUCER,
            _of(call),
            start_us=at_us,
            own=accept,
        ).end(at_us * 1000)

    def ran(
        self,
        call: TracedCall,
        *,
        attempt: int,
        started_us: int,
        duration_ms: int,
        status: str,
        http_status: int | None,
        has_failed: bool,
    ) -> None:
        """A run has ended."""
        caller = _caller(call)
        if not self._is_sampled(call, caller):
            return
        ended: Attributes = {"dispatcher.attempt": attempt, "dispatcher.status": status}
        if http_status is not None:
            ended["http.response.status_code"] = http_status
        if has_failed:
            ended["error.type"] = status
        span = self._spans.start(
            _RUN,
            inside(caller or _accept_of_root(call)),
            SpanKind.CLIENT,
            _of(call) | ended,
            [Link(_accept(call))],
            start_us=started_us,
        )
        if has_failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end((started_us + duration_ms * 1000) * 1000)

    def _is_sampled(self, call: TracedCall, caller: SpanContext | None) -> bool:
        if caller is not None:
            return caller.trace_flags.sampled
        root = _accept_of_root(call)
        answer = self._spans.sampler.should_sample(
            Context(), root.trace_id, _ACCEPT, SpanKind.PRODUCER, {}, ()
        )
        return answer.decision is Decision.RECORD_AND_SAMPLE


def _caller(call: TracedCall) -> SpanContext | None:
    return caller_of(b"\r\n" + call.trace.encode("ascii")) if call.trace else None


def _accept(call: TracedCall) -> SpanContext:
    """The context of the first span of a call: the same in every process."""
    caller = _caller(call)
    trace_id = _number(call.root_id, 16) if caller is None else caller.trace_id
    return SpanContext(trace_id, _number(f"{call.id} accept", 8), False, SAMPLED)


def _accept_of_root(call: TracedCall) -> SpanContext:
    return _accept(call._replace(id=call.root_id))


def _number(text: str, size: int) -> int:
    return int.from_bytes(blake2b(text.encode("ascii"), digest_size=size).digest()) or 1


def _of(call: TracedCall) -> Attributes:
    return {
        "dispatcher.call.id": call.id,
        "dispatcher.call.root_id": call.root_id,
        "dispatcher.function": call.function,
        "dispatcher.endpoint": call.endpoint,
    }
