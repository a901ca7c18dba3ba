"""What the end of one run means: a pure function of the call, what it was asked, and the answer.

    tail_call, whatever the status          TailCalled
    OK, poll                                Polled (`polling`); RetryAt where it extends a state
                                            that the call does not have
    OK, exit                                Exited
    TIMEOUT, THROTTLED, …_ERROR             RetryAt
    INCOMPATIBLE_STATE                      Restarted; failed when that did not help three times
    other statuses, UNSPECIFIED             Exited, failed
    OK without exit or poll, no RunResponse,
    another 2xx, too large to be sent on    Exited, failed with InvalidResponse
    408, 429, 5xx but 501                   RetryAt, but see `streaks` for 500
    failed_precondition, if the state was
    left out                                RetryAt, at once
    other HTTP statuses, egress rules       Exited, failed
    no complete response                    RetryAt

Delays are CALL_RETRY_DELAY, doubling to CALL_RETRY_MAX_DELAY, with jitter. A `Retry-After` is a
lower bound above that maximum too: an application that says an hour means an hour. The call's
expiration bounds all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from sys import intern
from typing import Final

from dispatcher.core.answer import Answer
from dispatcher.core.breaker import Signal, classify
from dispatcher.core.clock import Random
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.policy import NO_RETRY
from dispatcher.core.retry import RetryPolicy, delay_ms, parse_retry_after
from dispatcher.functions import errors, limits
from dispatcher.functions.checking import validate_call
from dispatcher.functions.deciding import appending
from dispatcher.functions.deciding.answers import (
    answered,
    is_final,
    lacks_state,
    read_answer,
    said,
    status_of,
)
from dispatcher.functions.deciding.decisions import Around, Decision, Outcome, RetryAt
from dispatcher.functions.deciding.polling import arm_of, polled
from dispatcher.functions.deciding.streaks import NO_STREAK, Streak
from dispatcher.functions.events import Exited, Polled, Restarted, TailCalled
from dispatcher.functions.machine import OUTSIDE
from dispatcher.functions.model import Call, How
from dispatcher.functions.rules import Asked, Rules
from dispatcher.protocol.messages import CallResult, Error, Exit, RunResponse
from dispatcher.protocol.statuses import Concurrency, Status, Then, status_of_wire

_WENT_ON: Final = (Polled, Exited, TailCalled)
_NOT_SPENT_MS: Final = 1000
"""Until a run that failed for a reason on this machine is made again."""


def decide(
    call: Call,
    asked: Asked,
    answer: Answer | AttemptResult,
    around: Around,
    *,
    now_us: int,
    random: Random,
    rules: Rules,
    next_key: Callable[[], int],
) -> Decision:
    """Say what follows from a run that has just ended.

    Args:
        call: as it is now, still at the step that was asked.
        asked: what the run was given.
        answer: a complete 2xx, or how the attempt ended otherwise.
        around: what is known beside that.
        now_us: microseconds since the epoch.
        random: where jitter comes from.
        rules: what the settings say.
        next_key: makes keys for children, one at a time.
    """
    assert call.step == asked.step
    deciding = _Deciding(call, asked, around, now_us, random, rules, next_key)
    if isinstance(answer, Answer):
        return deciding.of_answer(answer)
    return deciding.of_failure(answer)


def not_sendable(call: Call, why: str, now_us: int) -> Exited:
    """The end of a call that cannot be resumed any more (`resuming.plan_resume` says why)."""
    result = errors.failed(errors.type_of(Status.INVALID_RESPONSE), f"{call.function}: {why}.")
    return Exited(call.key, call.step, How.FAILED, result, is_error=True, at_us=now_us)


def _unneeded(response: RunResponse) -> tuple[int, ...]:
    is_poll = response.WhichOneof("directive") == "poll"
    return tuple(response.poll.cancel if is_poll else response.exit.cancel)


@dataclass(frozen=True, slots=True)
class _Invalid:
    """An answer that is against the protocol: why, and what that means."""

    reason: str
    event: Exited


@dataclass(frozen=True, slots=True)
class _Deciding:
    call: Call
    asked: Asked
    around: Around
    now_us: int
    random: Random
    rules: Rules
    next_key: Callable[[], int]

    def of_answer(self, answer: Answer) -> Decision:
        response = read_answer(answer)
        if isinstance(response, str):
            return Decision(
                self._fail(Status.INVALID_RESPONSE, response),
                Status.INVALID_RESPONSE,
                Signal.HEALTHY,
                Concurrency.INCREASE,
                response,
            )
        status = status_of_wire(response.status)
        outcome = self._of_response(response, status, answer.retry_after)
        detail = "" if status is Status.OK else said(response, status)
        if status is Status.OK and isinstance(outcome, RetryAt):
            detail = "its poll extends a state that the call does not have"
        if isinstance(outcome, _Invalid):
            status, detail, outcome = Status.INVALID_RESPONSE, outcome.reason, outcome.event
        return Decision(
            outcome,
            status,
            Signal.HEALTHY,
            status.concurrency,
            detail,
            has_missed=outcome == self._whole() and self.asked.is_referred,
            process=response.poll.process if isinstance(outcome, Polled) else "",
            cancel=_unneeded(response) if isinstance(outcome, _WENT_ON) else (),
        )

    def _of_response(
        self, response: RunResponse, status: Status, retry_after: bytes | None
    ) -> Outcome | _Invalid:
        if response.WhichOneof("directive") == "exit" and response.exit.HasField("tail_call"):
            return self._tail_called(response.exit)
        match status.then:
            case Then.RETRY:
                return self._retry(retry_after)
            case Then.RESTART:
                return self._restart(
                    status,
                    said(response, status),
                    response.exit.result.error if response.exit.result.HasField("error") else None,
                )
            case Then.END if status is not Status.OK:
                return self._end(response, status)
        match response.WhichOneof("directive"):
            case "exit":
                return self._exited(response.exit.result, How.OK)
            case "poll":
                return self._polled(response)
            case _:
                return self._invalid("the answer has status OK, but neither an exit nor a poll")

    # What a run says by itself.

    def _polled(self, response: RunResponse) -> Outcome | _Invalid:
        poll = response.poll
        if poll.extends and not appending.extends(self.call, poll, arm_of(poll)):
            # It took another state for this one. It may do so again if it was given the whole one.
            return self._whole() if self.asked.is_referred else self._retry(None)
        outcome = polled(
            self.call,
            self.asked,
            poll,
            now_us=self.now_us,
            random=self.random,
            rules=self.rules,
            tree=self.around.tree,
            next_key=self.next_key,
        )
        return self._invalid(outcome) if isinstance(outcome, str) else outcome

    def _tail_called(self, exit_: Exit) -> TailCalled | _Invalid:
        new = exit_.tail_call
        problem = validate_call(new, "exit.tail_call", caller=self.call.endpoint)
        if problem is not None:
            return self._invalid(str(problem))
        if new.endpoint.startswith(OUTSIDE):
            return self._invalid("exit.tail_call.endpoint must be an application's")
        return TailCalled(
            self.call.key,
            self.asked.step,
            intern(new.endpoint) or self.call.endpoint,
            intern(new.function),
            intern(new.version),
            new.input.SerializeToString(),
        )

    def _end(self, response: RunResponse, status: Status) -> Outcome | _Invalid:
        """A status that is final. An output of it goes to the caller as it is: the value says."""
        result = response.exit.result if response.HasField("exit") else CallResult()
        if not result.HasField("output") and not result.HasField("error"):
            kind = Status.INVALID_RESPONSE if status is Status.UNSPECIFIED else status
            return self._fail(kind, said(response, status))
        return self._exited(result, How.FAILED)

    def _exited(self, result: CallResult, how: How) -> Exited | _Invalid:
        sent = CallResult()
        if result.HasField("output"):
            sent.output.CopyFrom(result.output)
        if result.HasField("error"):
            sent.error.CopyFrom(result.error)
        size_bytes = sent.ByteSize()
        if size_bytes > limits.MOST_PAYLOAD_BYTES:
            return self._invalid(
                f"the result has {size_bytes} bytes, and {limits.MOST_PAYLOAD_BYTES} is the most "
                "that can be sent to its caller"
            )
        return self._exit(how, sent.SerializeToString(), is_error=sent.HasField("error"))

    def _whole(self) -> RetryAt:
        """The same again with the whole state, at once."""
        return RetryAt(self.now_us, self.call.attempts, is_spent=False)

    # What follows where it says nothing.

    def of_failure(self, result: AttemptResult) -> Decision:
        if self.asked.is_referred and lacks_state(result):
            why = "that process does not have the state: it is sent whole"
            return Decision(
                self._whole(),
                Status.TEMPORARY_ERROR,
                Signal.HEALTHY,
                Concurrency.NONE,
                why,
                has_missed=True,
            )
        streak = self.around.streak.after(result, self.now_us)
        if result.status == 500 and not self.asked.is_own_state:
            found = self._of_500(streak)
            if found is not None:
                return found
        outcome = self._of_failure(result)
        return Decision(
            outcome,
            status_of(result),
            classify(result, NO_RETRY),
            Concurrency.NONE,
            result.detail,
            streak if isinstance(outcome, RetryAt) else NO_STREAK,
            http_status=result.status if result.failure is None else None,
        )

    def _of_failure(self, result: AttemptResult) -> Outcome:
        if result.ours:
            rest_us = round(self.random.uniform(0.8, 1.2) * _NOT_SPENT_MS * 1000)
            due_us = self._in_time(self.now_us + rest_us)
            return RetryAt(due_us, self.call.attempts, is_spent=False)
        if result.failure is Failure.EGRESS:
            return self._fail(Status.PERMISSION_DENIED, f"egress_denied: {result.detail}")
        if is_final(result.status):
            return self._fail(status_of(result), answered(result))
        return self._retry(result.retry_after)

    def _of_500(self, streak: Streak) -> Decision | None:
        """What `streaks` says of one more HTTP 500. The endpoint fails it in any case."""
        now_us, others, after_ms = self.now_us, self.around.others, self.rules.suspect_after_ms
        if streak.has_ended_there(now_us, others, after_ms):
            status = Status.INVALID_RESPONSE
            why = (
                f"a response was lost, and {streak.count} runs since then were answered with HTTP "
                "500: it seems to have ended in its process already"
            )
            outcome: Outcome = self._fail(status, why)
        elif self.call.is_resume and streak.is_state_suspect(now_us, others.healthy_us, after_ms):
            status = Status.INCOMPATIBLE_STATE
            why = (
                f"{streak.count} resumes in a row were answered with HTTP 500 while other runs of "
                "its endpoint succeeded: its state seems to be of other code"
            )
            outcome = self._restart(status, why, None)
        else:
            return None
        warning = f"{self.call.function}: {why}"
        if isinstance(outcome, Restarted):
            warning += ", and it begins anew from its input"
        return Decision(outcome, status, Signal.FAILURE, Concurrency.NONE, why, warning=warning)

    # How it goes on.

    def _retry(self, retry_after: bytes | None) -> RetryAt:
        attempts = self.call.attempts + 1
        asked_ms = 0
        if retry_after is not None:
            asked_ms = parse_retry_after(retry_after, self.now_us) or 0
        policy = RetryPolicy(0, self.rules.retry_delay_ms, self.rules.retry_max_delay_ms)
        if asked_ms > policy.max_delay_ms:
            wait_ms = int(self.random.uniform(asked_ms, asked_ms * 1.2))
        else:
            wait_ms = delay_ms(attempts, policy, self.random, at_least_ms=asked_ms)
        return RetryAt(self._in_time(self.now_us + wait_ms * 1000), attempts)

    def _restart(self, status: Status, why: str, error: Error | None) -> Restarted | Exited:
        call = self.call
        made = call.step - call.began_step
        if call.restarts < limits.MOST_RESTARTS or made > call.reached:
            return Restarted(call.key, self.asked.step)
        if error is not None:
            result = CallResult(error=error).SerializeToString()
            return self._exit(How.FAILED, result, is_error=True)
        return self._fail(status, f"{why}; {call.restarts} restarts did not get any further")

    def _fail(self, status: Status, why: str) -> Exited:
        result = errors.failed(errors.type_of(status), f"{self.call.function}: {why}.")
        return self._exit(How.FAILED, result, is_error=True)

    def _invalid(self, why: str) -> _Invalid:
        return _Invalid(why, self._fail(Status.INVALID_RESPONSE, why))

    def _exit(self, how: How, result: bytes, *, is_error: bool) -> Exited:
        return Exited(self.call.key, self.asked.step, how, result, is_error, self.now_us)

    def _in_time(self, due_us: int) -> int:
        """No run starts after expiration: it is looked at then."""
        return max(self.now_us, min(due_us, self.call.expires_us))
