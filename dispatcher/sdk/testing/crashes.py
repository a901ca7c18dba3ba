"""A call that is crashed wherever it can be, and has to come to the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Final, Generic, Protocol, TypeVar

from dispatcher.sdk.exceptions import DecodeError
from dispatcher.sdk.replay.journal import decode as decode_state
from dispatcher.sdk.replay.model import Failure, Kind, Result, Value
from dispatcher.sdk.running.intents import is_intent
from dispatcher.sdk.running.stored import split
from dispatcher.sdk.testing.calls import Record
from dispatcher.sdk.values import decode
from dispatcher.sdk.wire import result_of

R = TypeVar("R")


_LOOK: Final = (
    "Look for time, randomness, sets, I/O or globals; stub what gives another value each time."
)
_ONCE: Final = (
    "A step with at_most_once=True is not repeated after a crash, so crash_everywhere is for "
    "functions without one: test what follows with env.fail(step, dispatch.Interrupted)."
)


class Crash(Enum):
    """Who crashes, and when: as messages say it of a run."""

    APPLICATION = "a crash before {} was answered"
    SERVER = "a crash of the server before it had stored what {} answered"


@dataclass(frozen=True, slots=True)
class Killed:
    """Which answer is lost, from 0, and by whose crash."""

    answer: int
    crash: Crash


class CrashShows(AssertionError):
    """A call came to something else after a crash."""


@dataclass(slots=True)
class Played(Generic[R]):
    """A call that was run to its end: what it returned or raised, all calls, how many answers there
    were, and in which run the crash was."""

    value: R | None
    error: BaseException | None
    calls: Iterable[Record]
    answers: int
    crashed_in: str = ""


class Play(Protocol[R]):
    """Runs the call in an environment of its own, where somebody crashes."""

    def __call__(self, killed: Killed | None) -> Played[R]: ...


def crash_all(play: Play[R]) -> R:
    """Run a call once without a crash, and once for each answer that a crash may cost, of the
    application and of the server.

    Raises:
        CrashShows: it came to something else.
        BaseException: what the call raised, each time.
    """
    calm = play(None)
    expected = _shown(calm)
    is_once = any(_is_announced(result) for call in calm.calls for _, result in _stored(call))
    for answer, crash in product(range(calm.answers), Crash):
        crashed = play(Killed(answer, crash))
        after = crash.value.format(crashed.crashed_in)
        _compare(expected, _shown(crashed), after, _ONCE if is_once else _LOOK)
    if calm.error is not None:
        raise calm.error
    return calm.value  # type: ignore[return-value]  # there is one where there is no error


def _compare(expected: list[str], now: list[str], after: str, hint: str) -> None:
    for one, other in zip(expected + [""] * len(now), now + [""] * len(expected), strict=True):
        if one != other:
            raise CrashShows(
                f"After {after}:\n  now      {other or 'nothing'}\n"
                f"  without  {one or 'nothing'}\n{hint}"
            )


def _shown(played: Played[R]) -> list[str]:
    """A line for each thing that has to be the same, the result last."""
    lines = [line for call in played.calls for line in _lines(call)]
    error = played.error
    end = f"returned {played.value!r}" if error is None else f"{type(error).__name__}: {error}"
    return [*lines, end]


def _lines(call: Record) -> Iterator[str]:
    if call.result is not None:
        yield f"{call.function} {_came(result_of(call.result))}"
    yield from (f"{call.function}, step {step}" for step in _steps(call))


def _steps(call: Record) -> Iterator[str]:
    """The steps that are stored, each with its result; not that one was announced."""
    for function, result in _stored(call):
        if not _is_announced(result):
            yield f"{function} {_came(result)}"


def _is_announced(result: Result) -> bool:
    return isinstance(result, Value) and is_intent(result)


def _stored(call: Record) -> Iterator[tuple[str, Result]]:
    if call.state is None:
        return
    columns = decode_state(split(call.state.value)[1])
    for id, result in zip(columns.event_of, columns.results, strict=True):
        if isinstance(result, Value | Failure):
            kind, function, *_ = columns.places[columns.place_of[id]].split("\0")
            if kind == Kind.STEP.value:
                yield function, result


def _came(result: Result) -> str:
    if isinstance(result, Failure):
        return f"raised {result.type}: {result.message}"
    try:
        return f"returned {decode(result, None)!r}"
    except DecodeError:
        return f"returned {result!r}"
