"""What it means that a run was not answered with a complete 2xx."""

from __future__ import annotations

from typing import Final

from dispatcher.core.breaker import Signal, classify
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.policy import NO_RETRY
from dispatcher.functions.deciding.answers import answered, is_final, lacks_state, status_of
from dispatcher.functions.deciding.decisions import Decision, Outcome, RestartAt, RetryAt
from dispatcher.functions.deciding.ended_run import EndedRun
from dispatcher.functions.deciding.streaks import NO_STREAK, Streak
from dispatcher.protocol.statuses import Concurrency, Status

_NOT_SPENT_MS: Final = 1000
"""Until a run that failed for a reason on this machine is made again."""


def decide_failure(run: EndedRun, result: AttemptResult) -> Decision:
    """What follows from an attempt that failed."""
    if run.asked.is_referred and lacks_state(result):
        return Decision(
            run.with_whole_state(),
            Status.TEMPORARY_ERROR,
            Signal.HEALTHY,
            Concurrency.NONE,
            "that process does not have the state: it is sent whole",
            has_missed=True,
        )
    streak = run.context.streak.after(result, run.now_us)
    if result.status == 500 and not run.asked.is_own_state:
        found = _of_500(run, streak)
        if found is not None:
            return found
    outcome = _outcome(run, result)
    return Decision(
        outcome,
        status_of(result),
        classify(result, NO_RETRY),
        Concurrency.NONE,
        result.detail,
        streak if isinstance(outcome, RetryAt) else NO_STREAK,
        http_status=result.status if result.failure is None else None,
    )


def _outcome(run: EndedRun, result: AttemptResult) -> Outcome:
    if result.ours:
        rest_us = round(run.random.uniform(0.8, 1.2) * _NOT_SPENT_MS * 1000)
        due_us = run.in_time(run.now_us + rest_us)
        return RetryAt(due_us, run.call.attempts, is_spent=False)
    if result.failure is Failure.EGRESS:
        return run.fail(Status.PERMISSION_DENIED, f"egress_denied: {result.detail}")
    if is_final(result.status):
        return run.fail(status_of(result), answered(result))
    return run.retry(result.retry_after)


def _of_500(run: EndedRun, streak: Streak) -> Decision | None:
    """What `streaks` says of one more HTTP 500. The endpoint fails it in any case."""
    call, now_us = run.call, run.now_us
    others, after_ms = run.context.others, run.rules.suspect_after_ms
    if streak.has_ended_there(call.key, now_us, others, after_ms):
        status = Status.INVALID_RESPONSE
        why = (
            f"a response was lost, or it was redriven, and {streak.count} runs since then were "
            "answered with HTTP 500: it seems to have ended in its process already. Restart the "
            "application before it is run again"
        )
        outcome: Outcome = run.fail(status, why)
    elif call.is_resume and streak.is_state_suspect(now_us, others.healthy_us, after_ms):
        status = Status.INCOMPATIBLE_STATE
        why = (
            f"{streak.count} resumes in a row were answered with HTTP 500 while other runs of "
            "its endpoint succeeded: its state seems to be of other code"
        )
        outcome = run.restart(status, why, None)
    else:
        return None
    warning = f"{call.function}: {why}"
    if isinstance(outcome, RestartAt):
        warning += ", and it begins anew from its input"
    return Decision(outcome, status, Signal.FAILURE, Concurrency.NONE, why, warning=warning)
