"""Steps: what a durable function has done outside of it, once, by this process.

A step that failed is tried again by the function, as another step; here it is one try. At least
once, until its result is stored: who crashes before that does it again.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Generator
from typing import Any, cast

from dispatcher.sdk.functions import context
from dispatcher.sdk.functions.context import Inside
from dispatcher.sdk.replay.model import (
    INTENT,
    INTERRUPTED,
    Ended,
    Failure,
    Numbered,
    Operation,
    Result,
    StepRun,
    Told,
)
from dispatcher.sdk.running.intents import Intents
from dispatcher.sdk.running.net import MisplacedOperation
from dispatcher.sdk.running.telling import tell
from dispatcher.sdk.running.threads import in_thread


class Steps:
    """Carries out the steps of all calls of an application."""

    def __init__(self, failure_of: Callable[[BaseException], Failure], intents: Intents) -> None:
        """`failure_of` says what is recorded of an exception."""
        self._failure_of = failure_of
        self._intents = intents

    def begin(self, step: Numbered, told: Told) -> asyncio.Task[Ended]:
        """Begin a step on the running loop. The task raises CancelledError, or NotClaimed: it has
        not begun."""
        there = contextvars.copy_context()
        there.run(context.inside.set, Inside(told, _StepNet(step.operation)))
        work = self._ended(step, told)
        return asyncio.get_running_loop().create_task(work, context=there)

    def interrupted(self, step: Numbered) -> Ended | None:
        """What is recorded of a step that had begun and was left; None where it may begin again."""
        work = step.operation.carrier
        if isinstance(work, StepRun) and work.intent is not None:
            return Ended(step.id, _interrupted(step.operation))
        return None

    async def _ended(self, step: Numbered, told: Told) -> Ended:
        work = step.operation.carrier
        if work is INTENT:
            return Ended(step.id, self._intents.announce())
        assert isinstance(work, StepRun)
        if work.intent is not None and not await self._intents.take(work.intent):
            return Ended(step.id, _interrupted(step.operation))
        return Ended(step.id, await self._result(step.operation, work, told))

    async def _result(self, operation: Operation, work: StepRun, told: Told) -> Result:
        within_s = None if work.timeout_us is None else work.timeout_us / 1_000_000
        try:
            async with asyncio.timeout(within_s) as limit:
                value = await _called(work)
            return work.encode(value)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it is given up
            return self._failed(error, operation, told)
        except TimeoutError as error:
            what = f"step {operation.function} did not end within {within_s} s"
            is_late = limit.expired()
            return self._failed(TimeoutError(what) if is_late else error, operation, told)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            return self._failed(error, operation, told)

    def _failed(self, error: BaseException, operation: Operation, told: Told) -> Failure:
        """What is recorded; what the function makes of it nobody knows yet."""
        step = f"step {operation.function} of {told.function}"
        tell(step, told.id, error, status=None)
        return self._failure_of(error)


async def _called(work: StepRun) -> object:
    if work.is_async:
        return await cast(Awaitable[object], work.call())
    there = contextvars.copy_context()
    return await in_thread(lambda: there.run(work.call))


def _interrupted(operation: Operation) -> Failure:
    return Failure(
        INTERRUPTED,
        f"step {operation.function}, at {operation.site}, may have begun before, and is to run "
        "once at most: find out whether it has, and go on accordingly",
    )


class _StepNet:
    """Tells of durable operations in a step."""

    def __init__(self, step: Operation) -> None:
        self._step = step

    def met(self, operation: Operation) -> Generator[Any, Any, Result]:
        raise MisplacedOperation(
            f"step {self._step.function} waits for {operation.function} at {operation.site}: a "
            "step is recorded as a whole. Wait for it in the durable function itself, before or "
            "after the step"
        )
        yield self  # makes it a generator, as it is for functions
