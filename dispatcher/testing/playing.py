"""Durable functions played through, without a server: who waits is answered at once, and cold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dispatcher.sdk import errors
from dispatcher.sdk.functions import apps, context
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.model import (
    INTENT,
    Ended,
    Kind,
    Numbered,
    Operation,
    Outcome,
    Raised,
    Result,
    Returned,
    StepRun,
    Suspended,
    Told,
    Value,
)
from dispatcher.sdk.values import Signature, decode_arguments, encode

BEGAN_US = 1_700_000_000_000_000

Answer = Callable[[Operation], Result | None]


@dataclass
class Play:
    """A durable body on its way. `answer` gives the result of a call, None where there is none yet.

    `calls` and `steps` are all operations that came out, `ids` those of the calls, `cancelled` what
    was given up, `rounds` how many calls came out at a time. Each activation is cold, and
    gets one result; steps that were not done in the one before come out again.
    """

    body: Callable[[], Coroutine[Any, Any, object]]
    answer: Answer
    told: Told = field(default_factory=lambda: Told("c1", "pipeline"))
    is_cold: bool = True
    calls: list[Operation] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    steps: list[Operation] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    now_us: int = BEGAN_US

    def run(self) -> Outcome:
        """Run it to its end."""
        run = Run(self.body, self.told, None)
        waiting: list[Numbered] = []
        outcome = run.advance([], self.now_us)
        while isinstance(outcome, Suspended):
            self._note(outcome)
            waiting += [*outcome.calls, *outcome.steps]
            waiting = [each for each in waiting if each.id not in outcome.cancelled]
            event = self._next(waiting)
            if event is None:
                assert outcome.wake_us is not None, f"nothing ends {waiting}"
                self.now_us = max(self.now_us, outcome.wake_us)
            if self.is_cold:
                state = run.state()
                run.close()
                run = Run(self.body, self.told, state)
                # Who was to do its steps is gone: they come out again, if they are still wanted.
                waiting = [each for each in waiting if each.operation.kind is not Kind.STEP]
            outcome = run.advance([] if event is None else [event], self.now_us)
        self.cancelled += outcome.cancelled if hasattr(outcome, "cancelled") else []
        run.close()
        return outcome

    def value(self) -> Any:
        """Run it to its end, and return what it returns or raise what it raises."""
        outcome = self.run()
        if isinstance(outcome, Raised):
            raise outcome.error
        assert isinstance(outcome, Returned), outcome
        return outcome.value

    def _note(self, outcome: Suspended) -> None:
        self.calls += [each.operation for each in outcome.calls]
        self.ids += [each.id for each in outcome.calls]
        self.steps += [each.operation for each in outcome.steps]
        self.cancelled += outcome.cancelled
        if outcome.calls:
            self.rounds.append(len(outcome.calls))

    def _next(self, waiting: list[Numbered]) -> Ended | None:
        for each in waiting:
            result = self._result(each.operation)
            if result is not None:
                waiting.remove(each)
                return Ended(each.id, result)
        return None

    def _result(self, operation: Operation) -> Result | None:
        work = operation.carrier
        if work is INTENT:
            return encode("intent")
        if not isinstance(work, StepRun):
            return self.answer(operation)
        try:
            return work.encode(asyncio.run(_awaited(work)) if work.is_async else work.call())
        except Exception as error:
            return errors.failure_of(error)[1]


async def _awaited(work: StepRun) -> object:
    came: Any = work.call()
    return await came


def played(body: Callable[[], Coroutine[Any, Any, object]], answer: Answer | None = None) -> Any:
    """What a durable body returns."""
    return Play(body, answer or answered).value()


def answered(operation: Operation) -> Result:
    """The result of a call: its one argument, an int, times 10."""
    return encode(argument(operation.input) * 10)


def argument(input: Value) -> Any:
    """The one argument in an input."""

    def takes(x: Any) -> None: ...

    return decode_arguments(input, Signature(takes)).args[0]


@dataclass
class FakeApp:
    """An application whose server answers each call at once. `made` are the calls that it got, with
    the key of their request; `completed` what promises and channels were given."""

    answer: Callable[[BuiltCall[Any]], Result] = lambda built: encode(argument(built.input) * 10)
    made: list[tuple[BuiltCall[Any], str | None]] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    completed: list[tuple[str, Result]] = field(default_factory=list)
    most_at_once: int = 0
    _waiting: int = 0

    @property
    def caller(self) -> FakeApp:
        return self

    async def dispatch(
        self, calls: Sequence[BuiltCall[Any]], *, key: str | None = None
    ) -> list[str]:
        await asyncio.sleep(0)
        first = len(self.made)
        self.made += [(call, key) for call in calls]
        self.requests.append(len(calls))
        return [f"id{number}" for number in range(first, len(self.made))]

    async def wait(self, dispatch_id: str, *, timeout_s: float | None = None) -> Result:
        self._waiting += 1
        self.most_at_once = max(self.most_at_once, self._waiting)
        await asyncio.sleep(0)
        self._waiting -= 1
        return self.answer(self.made[int(dispatch_id[2:])][0])

    async def complete(self, endpoint: str, result: Result, *, is_again: bool = False) -> None:
        self.completed.append((endpoint, result))

    def handle(self, dispatch_id: str, returns: object) -> FakeHandle:
        return FakeHandle(dispatch_id, returns)

    @property
    def sync_caller(self) -> FakeSync:
        return FakeSync(self)


@dataclass
class FakeSync:
    """The same, for code that is not async."""

    app: FakeApp

    def dispatch(self, calls: Sequence[BuiltCall[Any]], *, key: str | None = None) -> list[str]:
        return asyncio.run(self.app.dispatch(calls, key=key))

    def wait(self, dispatch_id: str, *, timeout_s: float | None = None) -> Result:
        return asyncio.run(self.app.wait(dispatch_id))

    def complete(self, endpoint: str, result: Result) -> None:
        asyncio.run(self.app.complete(endpoint, result))

    def handle(self, dispatch_id: str, returns: object) -> Any:
        return FakeHandle(dispatch_id, returns)


@dataclass(frozen=True)
class FakeHandle:
    """A call that was made."""

    id: str
    returns: object

    async def result(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        raise NotImplementedError

    async def info(self) -> Any:
        raise NotImplementedError

    async def cancel(self, *, kill: bool = False) -> None:
        raise NotImplementedError


@contextmanager
def application(**options: Any) -> Iterator[FakeApp]:
    """Have a fake application be the one that calls go through."""
    app = FakeApp(**options)
    token = context.app.set(app)
    try:
        yield app
    finally:
        context.app.reset(token)
        with contextlib.suppress(ValueError):
            apps.gone(app)
