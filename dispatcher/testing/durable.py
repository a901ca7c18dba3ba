"""Durable bodies for tests of the replay engine, and one who drives them.

Operations here are as plain as can be: a call takes a number, and gives one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from textwrap import dedent
from typing import Any

from dispatcher.sdk.replay import where
from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.loop import running
from dispatcher.sdk.replay.model import (
    Ended,
    Event,
    Failure,
    Kind,
    Operation,
    Outcome,
    Result,
    Suspended,
    Told,
    Value,
)

TOLD = Told("01f3", "pipeline")
BEGAN_US = 1_700_000_000_000_000

_started: list[Run] = []

Body = Callable[[], Coroutine[Any, Any, object]]


class Failed(Exception):
    """A call ended with a failure."""


def value(number: int) -> Value:
    """The result, or the input, that is this number."""
    return Value("google.protobuf.Int64Value", bytes((8, number)))


def failure(message: str = "no") -> Failure:
    """A result that makes the call raise `Failed`."""
    return Failure("Failed", message)


def ended(id: int, number: int) -> Ended:
    """The operation `id` has ended with this number."""
    return Ended(id, value(number))


def call(
    function: str, number: int = 0, *, group: object = None, checked: bool = True
) -> Coroutine[Any, Any, int]:
    """Call a function; the coroutine has the number that it returned."""
    return _wait(_operation(Kind.CALL, function, number, checked), group)


def step(function: str, number: int = 0) -> Coroutine[Any, Any, int]:
    """Run a step; the coroutine has the number that it returned."""
    return _wait(_operation(Kind.STEP, function, number, True), None)


def sleep(seconds: float) -> Coroutine[Any, Any, int]:
    """Sleep, durably."""
    at = _site(sys._getframe(1))
    return _wait(Operation(Kind.SLEEP, "", at, duration_us=round(seconds * 1e6)), None)


def patched(name: str) -> bool:
    """Whether the body is new enough to have the change of this name."""
    loop = running()
    assert loop is not None
    at = _site(sys._getframe(1))
    answer = loop.perform(Operation(Kind.PATCH, name, at)).result()
    assert isinstance(answer, Value)
    return bool(answer.data)


def body_of(source: str) -> Body:
    """The function `pipeline` of a source, whose lines are those of "app.py"."""
    names: dict[str, Any] = dict(globals()) | {"asyncio": asyncio}
    exec(compile(dedent(source).lstrip("\n"), "app.py", "exec"), names)
    body: Body = names["pipeline"]
    return body


def start(
    body: Body, state: bytes | None = None, *, kept: Mapping[str, Value] | None = None
) -> Run:
    """A run of `body`, cold where a state is given. Somebody has to close it: `close_all`."""
    run = Run(body, TOLD, state, kept=kept)
    _started.append(run)
    return run


def close_all() -> None:
    """Close what was started: a suspended body that is dropped is heard of when it is collected."""
    while _started:
        _started.pop().close()


def advance(run: Run, *events: Event, after_s: float = 0) -> Outcome:
    """Advance `run`, that many seconds after the call began."""
    return run.advance(events, BEGAN_US + round(after_s * 1e6))


def suspended(run: Run, *events: Event, after_s: float = 0) -> Suspended:
    """Advance `run` to where it waits again."""
    outcome = advance(run, *events, after_s=after_s)
    assert isinstance(outcome, Suspended), outcome
    return outcome


def recorded(body: Body, *activations: Sequence[Event]) -> bytes:
    """The state of `body` after a first run and these activations, a second apart, each cold."""
    run = start(body)
    suspended(run)
    for second, events in enumerate(activations, 1):
        run = start(body, run.state())
        suspended(run, *events, after_s=second)
    state = run.state()
    run.close()
    return state


def replayed(body: Body, state: bytes, *, after_s: float = 1000) -> Outcome:
    """What comes of `body` on this state, with nothing new."""
    run = start(body, state)
    outcome = advance(run, after_s=after_s)
    run.close()
    return outcome


def _operation(kind: Kind, function: str, number: int, checked: bool) -> Operation:
    at = _site(sys._getframe(2))
    return Operation(kind, function, at, input=value(number), is_input_checked=checked)


def _site(frame: Any) -> str:
    return where.site(frame.f_code.co_filename, frame.f_lineno)


async def _wait(operation: Operation, group: object) -> int:
    loop = running()
    assert loop is not None, "outside of a durable body"
    result: Result = await loop.perform(operation, group=group)
    if isinstance(result, Failure):
        raise Failed(result.message)
    return result.data[1] if result.data else 0


# As in the SDK, no line of the user's.
_wait.__code__ = _wait.__code__.replace(co_filename=where.__file__)
