"""Durable functions: run until they wait for the server, and go on when it says.

A call that is kept in memory goes on where it is, if the server has the state that it had when it
was answered last; else it is replayed from the state that came with the request. Where that does
not fit the code any more the function's `on_change` says what becomes of the call.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, cast

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.functions.spec import OnChange
from dispatcher.sdk.replay.engine import Run as Engine
from dispatcher.sdk.replay.journal import BadState
from dispatcher.sdk.replay.model import (
    Became,
    Contradicted,
    Failure,
    Faulted,
    Outcome,
    Raised,
    Returned,
    Suspended,
    Value,
)
from dispatcher.sdk.replay.record import kept_in
from dispatcher.sdk.running.activation import Activation
from dispatcher.sdk.running.intents import NotClaimed
from dispatcher.sdk.running.plain import allowed_s
from dispatcher.sdk.running.recalling import Gone, NotRecalled, Recall, recalled
from dispatcher.sdk.running.requests import Resume, Run, digest_of, identity_of
from dispatcher.sdk.running.responses import Ending, Passed, Waiting
from dispatcher.sdk.running.runnable import Runnable, bound, returned
from dispatcher.sdk.running.session import CANCELLED, Session
from dispatcher.sdk.running.steps import Steps
from dispatcher.sdk.running.stored import head_of, split
from dispatcher.sdk.running.telling import tell
from dispatcher.sdk.running.warm import Warm

INCOMPATIBLE: Final = "IncompatibleState"
NOT_DURABLE: Final = "NotDurable"

_log = logging.getLogger("dispatcher.sdk")


class Durable:
    """Runs the durable functions of an application. For any number of loops and threads, but one
    call is never run twice at once."""

    def __init__(
        self,
        warm: Warm[Session],
        *,
        steps: Steps,
        recall: Recall | None,
        now_us: Callable[[], int],
        engine: Callable[..., Engine] = Engine,
    ) -> None:
        """`engine` makes runs, as `Engine` does."""
        self._warm = warm
        self._engine = engine
        self._steps = steps
        self._recall = recall
        self._now_us = now_us
        self._name = secrets.token_hex(8)

    async def run(self, runnable: Runnable, run: Run) -> Ending | Passed | Waiting:
        """Run a function, or go on with one, until there is something to answer.

        Raises:
            ConnectError: failed_precondition; its state is not kept here, and has to be sent.
        """
        try:
            session = await self._session(runnable, run)
        except (BadState, Gone) as error:
            return _changed(runnable, f"{runnable.spec.name} (call {run.told.id}): {error}")
        except NotRecalled as error:
            return Ending(Status.TEMPORARY_ERROR, Failure("NotRecalled", str(error)))
        if isinstance(session, Ending):
            return session
        if session.ending is not None and not session.calls:
            session.close()
            return session.ending
        try:
            return await self._go_on(session, runnable, run)
        except NotClaimed as error:
            return Ending(Status.TEMPORARY_ERROR, Failure("NotClaimed", str(error)))

    def forget(self, call_id: str) -> None:
        """Keep nothing of a call: it was not answered with what is kept."""
        session = self._warm.take(call_id)
        if session is not None:
            session.close()

    async def _go_on(
        self, session: Session, runnable: Runnable, run: Run
    ) -> Ending | Passed | Waiting:
        came: Ending | Passed | Waiting | None = None
        try:
            activation = Activation(
                session,
                run.told,
                steps=self._steps,
                conclude=lambda outcome: _concluded(runnable, run, outcome),
                now_us=self._now_us,
                process=self._process(),
                within_s=allowed_s(runnable, run),
            )
            keeps = "keep" in run.features and self._recall is not None
            came = await activation.run(*session.events(run.directive, keeps=keeps))
            return came
        finally:
            if isinstance(came, Waiting) and run.told.id:
                self._warm.put(run.told.id, session)
            else:
                session.close()

    def _process(self) -> str:
        """Names this process; a forked one is another."""
        return f"{self._name}-{os.getpid()}" if self._warm.is_on else ""

    async def _session(self, runnable: Runnable, run: Run) -> Session | Ending:
        """The call as it was left, or replayed."""
        resume = run.directive
        session = self._warm.take(run.told.id)
        if session is not None:
            if isinstance(resume, Resume) and session.is_of(resume):
                run.identities.add(identity_of(session.digest.digest(), resume))
                return session
            session.close()  # the server has another state than it had
        if not isinstance(resume, Resume):
            return _made(self._engine, runnable, run, resume)
        if resume.state is None:
            if resume.nonce:
                raise ConnectError(
                    Code.FAILED_PRECONDITION, "the state with that nonce is not kept here: send it"
                )
            raise BadState("the call has a state that another SDK wrote, or none")
        input, record = split(resume.state)
        names = kept_in(record) if resume.permit else []
        kept = await recalled(self._recall, run.told.id, resume.permit, names)
        return _made(self._engine, runnable, run, input, record, kept)


def _made(
    engine_of: Callable[..., Engine],
    runnable: Runnable,
    run: Run,
    input: Value,
    record: bytes | None = None,
    kept: Mapping[str, Value] | None = None,
) -> Session | Ending:
    """A session that has not begun, or not been replayed yet."""
    call = bound(runnable, input, call_id=run.told.id)
    if isinstance(call, Ending):
        return call
    if not runnable.spec.is_async:
        raise BadState(f"{runnable.spec.name} is not async any more, and was suspended")
    body = cast(Callable[[], Coroutine[Any, Any, object]], call)
    engine = engine_of(body, run.told, record, kept=kept, judged=runnable.judged)
    session = Session(engine, head_of(input))
    if isinstance(run.directive, Resume):
        session.nonce = engine.nonce
        session.digest = digest_of(run.directive.state or b"")
        session.kept = len(kept or ())
        session.kept_bytes = sum(len(value.data) for value in (kept or {}).values())
    return session


def _concluded(runnable: Runnable, run: Run, outcome: Outcome) -> Ending | Passed:
    """How a run ends whose body is over, or can't go on."""
    match outcome:
        case Returned():
            ending = returned(runnable, outcome.value, call_id=run.told.id)
            return Ending(ending.status, ending.result, cancelled=outcome.cancelled)
        case Became():
            return Passed(outcome.operation, outcome.cancelled)
        case Raised():
            return _failed(runnable, run, outcome)
        case Contradicted():
            return _changed(runnable, outcome.message)
        case Faulted():
            _log.error("%s", outcome.message)
            return Ending(Status.PERMANENT_ERROR, Failure(NOT_DURABLE, outcome.message))
        case Suspended():
            raise AssertionError("the body is not over")


def _failed(runnable: Runnable, run: Run, outcome: Raised) -> Ending:
    """For good, whatever the exception: its cause is on record, and a replay raises it again."""
    if outcome.was_asked:
        failure = Failure(CANCELLED, str(outcome.error))
    else:
        _, failure = runnable.failure(outcome.error)
        tell(runnable.spec.name, run.told.id, outcome.error, status=Status.PERMANENT_ERROR)
    return Ending(Status.PERMANENT_ERROR, failure, cancelled=outcome.cancelled)


def _changed(runnable: Runnable, message: str) -> Ending:
    """The record does not fit the code."""
    _log.error("%s", message)
    status = {
        OnChange.RESTART: Status.INCOMPATIBLE_STATE,
        OnChange.WAIT: Status.TEMPORARY_ERROR,
        OnChange.FAIL: Status.PERMANENT_ERROR,
    }[runnable.spec.on_change]
    return Ending(status, Failure(INCOMPATIBLE, message))
