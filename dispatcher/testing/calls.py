"""Calls, and answers of applications, as tests of the function service need them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from dispatcher.core.answer import Answer
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.functions.model import NONE, Call, Poll, Result, StateArm
from dispatcher.functions.spans import span
from dispatcher.protocol.messages import Any, Exit, RunResponse
from dispatcher.protocol.statuses import Status

NOW_US = 1_704_067_200_000_000  # 2024-01-01T00:00:00Z
HOUR_US = 3_600_000_000
KEY = 1 << 64 | 1 << 63


def a_call(key: int = KEY, *, endpoint: str = "http://app.example", depth: int = 0) -> Call:
    """A root call that is due for its first run and expires in an hour."""
    return Call(
        key,
        parent=NONE,
        root=key,
        correlation=0,
        parent_generation=0,
        endpoint=endpoint,
        function="f",
        version="",
        application="app",
        created_us=NOW_US,
        expires_us=NOW_US + HOUR_US,
        not_before_us=0,
        depth=depth,
        timeout_ms=0,
        input=span(1, 0, 10),
    )


def a_resumed_call(
    *, state: bytes = b"state", crc: int = 0, max_results: int = 10, results: tuple[int, ...] = ()
) -> Call:
    """A call that is due to be resumed, with results of these sizes; it has no children left."""
    call = a_call()
    call.step = 1
    call.arm = StateArm.LEGACY
    call.states = (span(2, 0, len(state)),)
    call.state_crc = crc
    call.poll = Poll(1, max_results, 0)
    call.results = tuple(
        Result(number, KEY + 1 + number, span(3 + number, 0, size), is_error=False)
        for number, size in enumerate(results)
    )
    return call


def keys(first: int = KEY + 100) -> Callable[[], int]:
    """Keys for children, counted up."""
    return itertools.count(first).__next__


def an_any(value: bytes = b"value") -> Any:
    """A value of some type."""
    return Any(type_url="type.example/T", value=value)


def answered(response: RunResponse, *, retry_after: bytes | None = None) -> Answer:
    """A complete 200 with a RunResponse."""
    return Answer(200, b"application/proto", retry_after, response.SerializeToString())


def ended_with(status: Status | int) -> RunResponse:
    """An exit with a status and nothing else."""
    response = RunResponse(exit=Exit())
    response.MergeFromString(b"\x08" + bytes([status]))
    return response


def http(status: int, body: bytes = b"", *, retry_after: bytes | None = None) -> AttemptResult:
    """A complete answer with an HTTP status that is no 2xx."""
    return AttemptResult(status, None, f"http_{status}", 5, retry_after, body, was_sent=True)


def broke(failure: Failure, *, was_sent: bool = True, status: int | None = None) -> AttemptResult:
    """No complete answer."""
    return AttemptResult(status, failure, "it broke", 5, was_sent=was_sent)
