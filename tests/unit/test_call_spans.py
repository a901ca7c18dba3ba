"""Spans of function calls: whose children they are, and what is on them."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from dispatcher.telemetry.call_spans import CallSpans, TracedCall
from tests.unit.test_tracing import NOT_SAMPLED, PARENT, SAMPLED, TRACE, Traced, context, linked
from tests.unit.test_tracing import parent as parent_of

ROOT = TracedCall("a" * 28, "a" * 28, "top", "http://app.example", "")
CHILD = ROOT._replace(id="b" * 28, function="child")
AT_US = 1_767_225_600_000_000


def run(spans: CallSpans, call: TracedCall, *, has_failed: bool = False) -> None:
    """A run of 40 ms."""
    spans.ran(
        call,
        attempt=2,
        started_us=AT_US,
        duration_ms=40,
        status="throttled" if has_failed else "ok",
        http_status=200,
        has_failed=has_failed,
    )


def test_spans_are_children_of_the_caller_and_runs_linked_to_accept() -> None:
    """Also those of what was called."""
    traced = Traced()
    spans = CallSpans(traced.spans)
    for call in (ROOT, CHILD):
        call = call._replace(trace=f"{SAMPLED}\r\n")
        spans.created(call, AT_US)
        run(spans, call)
    root, of_root, child, of_child = traced.ended
    for span in traced.ended:
        assert context(span)[0] == TRACE
        assert parent_of(span) == PARENT
    assert linked(of_root) == [context(root)]
    assert linked(of_child) == [context(child)]
    assert [span.kind for span in (root, of_root)] == [SpanKind.PRODUCER, SpanKind.CLIENT]


def test_tree_is_one_trace_when_there_is_no_caller_also_in_another_process() -> None:
    """The root's first span is above all others."""
    first, second = Traced(), Traced()
    CallSpans(first.spans).created(ROOT, AT_US)
    CallSpans(second.spans).created(CHILD, AT_US)
    run(CallSpans(second.spans), CHILD)
    (root,), (child, of_child) = first.ended, second.ended
    assert parent_of(root) is None
    assert {context(span)[0] for span in (child, of_child)} == {context(root)[0]}
    assert parent_of(child) == parent_of(of_child) == context(root)[1]
    assert linked(of_child) == [context(child)]


def test_span_of_a_run_has_its_time_and_how_it_ended() -> None:
    """And nothing that the call was given."""
    traced = Traced()
    run(CallSpans(traced.spans), CHILD, has_failed=True)
    (span,) = traced.ended
    assert (span.start_time, span.end_time) == (AT_US * 1000, (AT_US + 40_000) * 1000)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {
        "dispatcher.call.id": CHILD.id,
        "dispatcher.call.root_id": ROOT.id,
        "dispatcher.function": "child",
        "dispatcher.endpoint": "http://app.example",
        "dispatcher.attempt": 2,
        "dispatcher.status": "throttled",
        "http.response.status_code": 200,
        "error.type": "throttled",
    }


@pytest.mark.parametrize("is_told", [True, False])
def test_nothing_is_recorded_when_the_caller_or_the_sampler_says_so(is_told: bool) -> None:
    """For all of a tree."""
    traced = Traced() if is_told else Traced(ALWAYS_OFF)
    call = ROOT._replace(trace=f"{NOT_SAMPLED}\r\n" if is_told else "")
    CallSpans(traced.spans).created(call, AT_US)
    run(CallSpans(traced.spans), call)
    assert not traced.ended
