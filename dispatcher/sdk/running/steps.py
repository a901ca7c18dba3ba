"""Steps: what a durable function has done outside of it, once, by this process.

A step that failed is tried again by the function, as another step; here it is one try. At least
once, until its result is stored: who crashes before that does it again.
"""

from __future__ import annotations

import asyncio
import contextvars
import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, cast

from dispatcher.protocol.messages import StringValue
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
    Value,
)
from dispatcher.sdk.running.net import MisplacedOperation
from dispatcher.sdk.running.threads import in_thread

_MOST_INTENTS: Final = 100_000


class Intents:
    """Steps that are to run once at most, and are about to.

    Before such a step its intent is stored, a word that only this process knows and knows once.
    Whoever finds an intent that it does not know does not know either whether the step has begun.
    """

    def __init__(self) -> None:
        self._words: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def announce(self) -> Value:
        """Return a new intent."""
        word = secrets.token_hex(8)
        with self._lock:
            self._words[word] = None
            if len(self._words) > _MOST_INTENTS:
                self._words.popitem(last=False)
        return Value("google.protobuf.StringValue", StringValue(value=word).SerializeToString())

    def take(self, intent: Value) -> bool:
        """Whether the step may begin; it may not another time."""
        word = StringValue.FromString(intent.data).value
        with self._lock:
            return self._words.pop(word, self) is None


class Steps:
    """Carries out the steps of all calls of an application."""

    def __init__(self, failure_of: Callable[[BaseException], Failure]) -> None:
        """`failure_of` says what is recorded of an exception."""
        self._failure_of = failure_of
        self._intents = Intents()

    def begin(self, step: Numbered, told: Told) -> asyncio.Task[Ended]:
        """Begin a step on the running loop. The task raises nothing but CancelledError."""
        there = contextvars.copy_context()
        there.run(context.inside.set, Inside(told, _StepNet(step.operation)))
        work = self._ended(step)
        return asyncio.get_running_loop().create_task(work, context=there)

    def interrupted(self, step: Numbered) -> Ended | None:
        """What is recorded of a step that had begun and was left; None where it may begin again."""
        work = step.operation.carrier
        if isinstance(work, StepRun) and work.intent is not None:
            return Ended(step.id, _interrupted(step.operation))
        return None

    async def _ended(self, step: Numbered) -> Ended:
        work = step.operation.carrier
        if work is INTENT:
            return Ended(step.id, self._intents.announce())
        assert isinstance(work, StepRun)
        if work.intent is not None and not self._intents.take(work.intent):
            return Ended(step.id, _interrupted(step.operation))
        return Ended(step.id, await self._result(step.operation, work))

    async def _result(self, operation: Operation, work: StepRun) -> Result:
        within_s = None if work.timeout_us is None else work.timeout_us / 1_000_000
        try:
            async with asyncio.timeout(within_s) as limit:
                value = await _called(work)
            return work.encode(value)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it is given up
            return self._failure_of(error)
        except TimeoutError as error:
            what = f"step {operation.function} did not end within {within_s} s"
            return self._failure_of(TimeoutError(what) if limit.expired() else error)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
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
