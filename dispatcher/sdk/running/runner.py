"""The functions of an application, and how a run of one of them is answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Final

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.sdk.replay.engine import Run as Engine
from dispatcher.sdk.replay.model import Failure, Operation
from dispatcher.sdk.running.answers import Answers
from dispatcher.sdk.running.durable import Durable
from dispatcher.sdk.running.intents import Claim, Intents
from dispatcher.sdk.running.plain import run_plain
from dispatcher.sdk.running.recalling import Recall
from dispatcher.sdk.running.requests import Resume, Run
from dispatcher.sdk.running.responses import Ending, Passed, Reply, Waiting, reply_of
from dispatcher.sdk.running.runnable import Runnable
from dispatcher.sdk.running.session import Session
from dispatcher.sdk.running.steps import Steps
from dispatcher.sdk.running.warm import Warm

_log: Final = logging.getLogger("dispatcher.sdk")


def wall_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class Runner:
    """Runs the functions of an application. For any number of loops and threads."""

    def __init__(
        self,
        runnables: Mapping[str, Runnable],
        *,
        warm: int,
        recall: Recall | None,
        claim: Claim | None,
        failure_of: Callable[[BaseException], Failure],
        now_us: Callable[[], int] = wall_us,
        steps: Steps | None = None,
        engine: Callable[..., Engine] = Engine,
    ) -> None:
        """`runnables` may grow. `warm`: suspended calls that are kept in memory at most. `recall`
        and `claim` ask the server, None: it can't be asked. `steps`: who carries them out, in place
        of the usual. `engine` makes the runs of durable functions, as `replay.Run` does."""
        self._runnables = runnables
        self._warm: Warm[Session] = Warm(warm)
        self._answers = Answers(warm)
        self._turned: set[str] = set()
        """Functions that were taken for plain ones, and are durable."""
        self._durable = Durable(
            self._warm,
            steps=steps or Steps(failure_of, Intents(claim, now_us=now_us)),
            recall=recall,
            now_us=now_us,
            engine=engine,
        )

    @property
    def suspended(self) -> int:
        """How many suspended calls are in memory."""
        return len(self._warm)

    def body(self, function: str) -> Callable[..., object]:
        """The body of a function. Raises KeyError."""
        return self._runnables[function].spec.body

    def close(self) -> None:
        """Forget what is kept in memory: those calls go on from their states."""
        self._warm.clear()
        self._answers.forget()

    def forget(self, call_id: str) -> None:
        """Keep nothing of a call in memory: it goes on from its state."""
        self._durable.forget(call_id)

    def forget_answers(self) -> None:
        """Forget what was answered, and keep suspended calls."""
        self._answers.forget()

    async def answer(self, run: Run) -> Reply:
        """Run a function, and say what it came to.

        Raises:
            ConnectError: not_found, there is no such function; failed_precondition, its state was
                left out and is not here.
        """
        runnable = self._runnables.get(run.told.function)
        if runnable is None:
            raise self._unknown(run.told.function)

        async def made() -> Reply:
            came = await self._came(runnable, run)
            reply = reply_of(came)
            if isinstance(came, Waiting) and not reply.is_waiting:
                self._durable.forget(run.told.id)
            return reply

        if not run.told.id:  # asked by hand
            return await made()
        return await self._answers.answer(run.told.id, run.identities, made)

    async def _came(self, runnable: Runnable, run: Run) -> Ending | Passed | Waiting:
        name = runnable.spec.name
        is_durable = (
            runnable.is_durable or name in self._turned or isinstance(run.directive, Resume)
        )
        if not is_durable:
            came = await run_plain(runnable, run)
            if isinstance(came, Ending | Passed):
                return came
            self._turn(name, came)
        return await self._durable.run(runnable, run)

    def _turn(self, name: str, operation: Operation) -> None:
        self._turned.add(name)
        _log.warning(
            "%s waits for %s at %s, so it is durable, which its code did not show; it was run "
            "anew. Write @dispatch.function(durable=True)",
            name,
            operation.function or operation.kind.value,
            operation.site,
        )

    def _unknown(self, name: str) -> ConnectError:
        close = get_close_matches(name, self._runnables, 1)
        hint = f"; or is {close[0]!r} meant?" if close else ""
        return ConnectError(
            Code.NOT_FOUND,
            f"the application has no function {name[:100]!r}: give it to Dispatch(…){hint}",
        )
