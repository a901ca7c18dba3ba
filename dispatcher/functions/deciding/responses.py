"""What a complete 2xx means: its directive, by its status."""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern
from typing import Final

from dispatcher.core.answer import Answer
from dispatcher.core.breaker import Signal
from dispatcher.functions import limits
from dispatcher.functions.checking import validate_call
from dispatcher.functions.deciding import appending
from dispatcher.functions.deciding.answers import read_answer, said
from dispatcher.functions.deciding.decisions import Decision, Outcome, RetryAt
from dispatcher.functions.deciding.ended_run import EndedRun
from dispatcher.functions.deciding.polling import arm_of, polled
from dispatcher.functions.endpoints import OUTSIDE
from dispatcher.functions.events import Exited, Polled, TailCalled
from dispatcher.functions.model import How
from dispatcher.protocol.messages import CallResult, Exit, RunResponse
from dispatcher.protocol.statuses import Concurrency, Status, Then, status_of_wire

_WENT_ON: Final = (Polled, Exited, TailCalled)


@dataclass(frozen=True, slots=True)
class _Invalid:
    """An answer that is against the protocol, and why: the call fails."""

    reason: str


def decide_answer(run: EndedRun, answer: Answer) -> Decision:
    """What follows from an answer."""
    response = read_answer(answer)
    if isinstance(response, str):
        return Decision(
            run.fail(Status.INVALID_RESPONSE, response),
            Status.INVALID_RESPONSE,
            Signal.HEALTHY,
            Concurrency.INCREASE,
            response,
        )
    status = status_of_wire(response.status)
    outcome = _outcome(run, response, status, answer.retry_after)
    if isinstance(outcome, TailCalled) and status is Status.TEMPORARY_ERROR:
        status = Status.OK  # so dispatch-py says `Reset`: nothing has failed
    detail = "" if status is Status.OK else said(response, status)
    if status is Status.OK and isinstance(outcome, RetryAt):
        detail = "its poll extends a state that the call does not have"
    if isinstance(outcome, _Invalid):
        status, detail = Status.INVALID_RESPONSE, outcome.reason
        outcome = run.fail(status, detail)
    return Decision(
        outcome,
        status,
        Signal.HEALTHY,
        status.concurrency,
        detail,
        has_missed=run.asked.is_referred and outcome == run.with_whole_state(),
        process=response.poll.process if isinstance(outcome, Polled) else "",
        cancel=_unneeded(response) if isinstance(outcome, _WENT_ON) else (),
    )


def _unneeded(response: RunResponse) -> tuple[int, ...]:
    is_poll = response.WhichOneof("directive") == "poll"
    named = response.poll.cancel if is_poll else response.exit.cancel
    return tuple(named) if named else ()


def _outcome(
    run: EndedRun, response: RunResponse, status: Status, retry_after: bytes | None
) -> Outcome | _Invalid:
    if response.WhichOneof("directive") == "exit" and response.exit.HasField("tail_call"):
        return _tail_called(run, response.exit)
    match status.then:
        case Then.RETRY:
            return run.retry(retry_after)
        case Then.RESTART:
            result = response.exit.result
            error = result.error if result.HasField("error") else None
            return run.restart(status, said(response, status), error)
        case Then.END if status is not Status.OK:
            return _end(run, response, status)
    match response.WhichOneof("directive"):
        case "exit":
            return _exited(run, response.exit.result, How.OK)
        case "poll":
            return _polled(run, response)
        case _:
            return _Invalid("the answer has status OK, but neither an exit nor a poll")


def _polled(run: EndedRun, response: RunResponse) -> Outcome | _Invalid:
    poll = response.poll
    if poll.extends and not appending.extends(run.call, poll, arm_of(poll)):
        # It took another state for this one. It may do so again if it was given the whole one.
        return run.with_whole_state() if run.asked.is_referred else run.retry(None)
    outcome = polled(run, poll)
    return _Invalid(outcome) if isinstance(outcome, str) else outcome


def _tail_called(run: EndedRun, exit_: Exit) -> TailCalled | _Invalid:
    new = exit_.tail_call
    problem = validate_call(new, "exit.tail_call", caller=run.call.endpoint)
    if problem is not None:
        return _Invalid(str(problem))
    if new.endpoint.startswith(OUTSIDE):
        return _Invalid("exit.tail_call.endpoint must be an application's")
    return TailCalled(
        run.call.key,
        run.asked.step,
        intern(new.endpoint) or run.call.endpoint,
        intern(new.function),
        intern(new.version),
        new.input.SerializeToString(),
    )


def _end(run: EndedRun, response: RunResponse, status: Status) -> Outcome | _Invalid:
    """A status that is final. An output of it goes to the caller as it is: the value says."""
    result = response.exit.result if response.HasField("exit") else CallResult()
    if not result.HasField("output") and not result.HasField("error"):
        kind = Status.INVALID_RESPONSE if status is Status.UNSPECIFIED else status
        return run.fail(kind, said(response, status))
    return _exited(run, result, How.FAILED)


def _exited(run: EndedRun, result: CallResult, how: How) -> Exited | _Invalid:
    sent = CallResult()
    if result.HasField("output"):
        sent.output.CopyFrom(result.output)
    if result.HasField("error"):
        sent.error.CopyFrom(result.error)
    size_bytes = sent.ByteSize()
    if size_bytes > limits.MOST_PAYLOAD_BYTES:
        return _Invalid(
            f"the result has {size_bytes} bytes, and {limits.MOST_PAYLOAD_BYTES} is the most that "
            "can be sent to its caller"
        )
    return run.exit(how, sent.SerializeToString(), is_error=sent.HasField("error"))
