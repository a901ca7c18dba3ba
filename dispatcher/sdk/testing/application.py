"""The application in an environment: what `Dispatch` is, in a time that is told, with doubles."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from dispatcher.protocol.signing import RUN_PATH
from dispatcher.sdk import http
from dispatcher.sdk.endpoint import Answer, Endpoint
from dispatcher.sdk.errors import failure_of
from dispatcher.sdk.functions import context
from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.functions.ports import Caller, SyncCaller
from dispatcher.sdk.functions.served import Served, served
from dispatcher.sdk.functions.stepcall import called
from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.model import Ended, Failure, Numbered, StepRun, Told
from dispatcher.sdk.running.intents import Claim, Intents
from dispatcher.sdk.running.runner import Runner
from dispatcher.sdk.running.steps import Steps
from dispatcher.sdk.testing.doubles import Doubles, awaited
from dispatcher.sdk.testing.server import FEATURES

_HEADERS: Final = [("Content-Type", "application/proto"), ("X-Dispatcher-Features", FEATURES)]

_WARM: Final = 10_000


class Application:
    """Runs functions. Its process can die: then another one begins, which knows nothing."""

    def __init__(
        self,
        functions: Sequence[Function[..., Any]],
        *,
        now_us: Callable[[], int],
        doubles: Doubles,
        claim: Claim,
        caller: Caller,
        sync_caller: SyncCaller,
        engine: Callable[..., Run],
    ) -> None:
        self.served: dict[str, Served] = served((*functions, http.send))
        self.caller = caller
        self.sync_caller = sync_caller
        self.steps: Counter[str] = Counter()
        """How often each step was begun."""
        self.refused: list[str] | None = None
        """Steps that were not run; None: they are."""
        self._now_us = now_us
        self._doubles = doubles
        self._claim = claim
        self._engine = engine
        self._owners = {function: function._home.app for function in functions}
        self._begin()
        for function in functions:
            function.give_to(self)

    async def run(self, request: bytes) -> Answer:
        """Answer a Run."""
        token = context.app.set(self)
        try:
            return await self._endpoint.handle("POST", RUN_PATH, _HEADERS, request)
        finally:
            context.app.reset(token)

    def die(self) -> None:
        """Forget all that the process had in memory."""
        self._runner.close()
        self._begin()

    def forget(self, call_id: str) -> None:
        """Have a call go on from its record, as in another process."""
        self._runner.forget(call_id)

    def forget_answers(self) -> None:
        """Forget what was answered: who asks again finds suspended bodies that have gone further
        than what the server has."""
        self._runner.forget_answers()

    def close(self) -> None:
        """Forget everything, and give the functions back to whose they were."""
        self._runner.close()
        for function, owner in self._owners.items():
            if function._home.app is self:
                function.give_to(owner)

    def _begin(self) -> None:
        self._runner = Runner(
            dict(self.served),
            warm=_WARM,
            recall=None,
            claim=None,
            failure_of=_failure_of,
            now_us=self._now_us,
            steps=_DoubledSteps(self, self._doubles, claim=self._claim, now_us=self._now_us),
            engine=self._engine,
        )
        self._endpoint = Endpoint(self._runner, None, about=lambda: "an environment of tests")


class _DoubledSteps(Steps):
    """Steps, with others in their places where the test says so. They run at the same time, and end
    in the order in which they began: which of two threads is faster must not decide a test."""

    def __init__(
        self,
        application: Application,
        doubles: Doubles,
        *,
        claim: Claim,
        now_us: Callable[[], int],
    ) -> None:
        super().__init__(_failure_of, Intents(claim, now_us=now_us))
        self._application = application
        self._doubles = doubles
        self._last: asyncio.Task[Ended] | None = None

    def begin(self, step: Numbered, told: Told) -> asyncio.Task[Ended]:
        if self._application.refused is not None:
            self._application.refused.append(step.operation.function)
        work = step.operation.carrier
        if isinstance(work, StepRun):  # else it is only announced
            step = self._doubled(step, work)
        turn = _after(self._last, super().begin(step, told))
        self._last = asyncio.get_running_loop().create_task(turn)
        return self._last

    def _doubled(self, step: Numbered, work: StepRun) -> Numbered:
        """The step with what is to run in its place."""
        name = step.operation.function
        self._application.steps[name] += 1
        double = _refuse if self._application.refused is not None else self._doubles.of(name)
        if double is None:
            return step
        args, kwargs = _arguments(work)
        work = replace(work, call=lambda: awaited(double, args, kwargs), is_async=True)
        return Numbered(step.id, replace(step.operation, carrier=work))


async def _after(last: asyncio.Task[Ended] | None, step: asyncio.Task[Ended]) -> Ended:
    try:
        if last is not None and not last.done():
            await asyncio.wait({last})
        return await step
    finally:
        step.cancel()


def _refuse(*_: object, **__: object) -> None:
    raise RuntimeError("a replay runs no steps")


def _arguments(work: StepRun) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the step would have been called with; nothing is known of those that the SDK makes."""
    if isinstance(work.call, partial) and work.call.func is called:
        _, args, kwargs = work.call.args
        return args, kwargs
    return (), {}


def _failure_of(error: BaseException) -> Failure:
    return failure_of(error)[1]
