"""What the end of one run means: a pure function of the call, what it was asked, and the answer.

    tail_call, whatever the status          TailCalled; TEMPORARY_ERROR is as good as OK then
    OK, poll                                Polled (`polling`); RetryAt where it extends a state
                                            that the call does not have
    OK, exit                                Exited
    TIMEOUT, THROTTLED, …_ERROR             RetryAt
    INCOMPATIBLE_STATE                      RestartAt; failed when that did not help three times
    other statuses, UNSPECIFIED             Exited, failed
    OK without exit or poll, no RunResponse,
    another 2xx, too large to be sent on    Exited, failed with InvalidResponse
    408, 429, 5xx but 501                   RetryAt, but see `streaks` for 500
    failed_precondition, if the state was
    left out                                RetryAt, at once
    other HTTP statuses, egress rules       Exited, failed
    no complete response                    RetryAt

Delays are CALL_RETRY_DELAY, doubling to CALL_RETRY_MAX_DELAY, with jitter, those of restarts with
each that got no further than the one before. A `Retry-After` is a
lower bound above that maximum too: an application that says an hour means an hour. The call's
expiration bounds all of it.
"""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.core.answer import Answer
from dispatcher.core.clock import Random
from dispatcher.core.outcome import AttemptResult
from dispatcher.functions.deciding.decisions import Context, Decision
from dispatcher.functions.deciding.ended_run import EndedRun
from dispatcher.functions.deciding.failures import decide_failure
from dispatcher.functions.deciding.responses import decide_answer
from dispatcher.functions.model import Call
from dispatcher.functions.rules import Asked, Rules


def decide(
    call: Call,
    asked: Asked,
    answer: Answer | AttemptResult,
    context: Context,
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
        context: what is known beside that.
        now_us: microseconds since the epoch.
        random: where jitter comes from.
        rules: what the settings say.
        next_key: makes keys for children, one at a time.
    """
    assert call.step == asked.step
    run = EndedRun(call, asked, context, now_us, random, rules, next_key)
    if isinstance(answer, Answer):
        return decide_answer(run, answer)
    return decide_failure(run, answer)
