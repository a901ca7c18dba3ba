"""The trace of a Dispatch: which headers are one, and that every run below has it."""

from __future__ import annotations

import pytest

from dispatcher.functions.tracing import trace_lines

PARENT = f"00-{1:032x}-{2:016x}-01"


def test_trace_is_kept_as_its_lines_when_there_is_one() -> None:
    """Lists of `tracestate` are one, in their order."""
    assert trace_lines([f" {PARENT}\t"], []) == f"traceparent: {PARENT}\r\n"
    lines = f"traceparent: {PARENT}\r\ntracestate: a=1,b=2\r\n"
    assert trace_lines([PARENT], ["a=1", "", "b=2"]) == lines
    later = f"01-{1:032x}-{2:016x}-00-more"
    assert trace_lines([later], []) == f"traceparent: {later}\r\n"


@pytest.mark.parametrize(
    "parents",
    [
        [],
        [PARENT, PARENT],
        [""],
        ["ff" + PARENT[2:]],
        [f"00-{0:032x}-{2:016x}-01"],
        [f"00-{1:032x}-{0:016x}-01"],
        [PARENT + "\r\nX: y"],
        [PARENT.replace("-", "_")],
    ],
)
def test_trace_that_is_none_is_left_out(parents: list[str]) -> None:
    """Nothing of it, `tracestate` neither."""
    assert trace_lines(parents, ["a=1"]) == ""


@pytest.mark.parametrize("state", ["a=" + "x" * 600, "a=\x7f", "a=\u00e9"])
def test_state_that_need_not_be_passed_on_is_left_out(state: str) -> None:
    """The trace goes on without it."""
    assert trace_lines([PARENT], [state]) == f"traceparent: {PARENT}\r\n"
