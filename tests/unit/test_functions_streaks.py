"""HTTP 500s in a row: a call that has ended in its process, and a state nobody can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from dispatcher.core.answer import Answer
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.functions.deciding.deciding import decide
from dispatcher.functions.deciding.decisions import Context, Decision, RestartAt, RetryAt
from dispatcher.functions.deciding.streaks import NO_STREAK, Others, Streak
from dispatcher.functions.events import Exited
from dispatcher.functions.model import Call
from dispatcher.functions.rules import Asked, Rules
from dispatcher.protocol.messages import CallResult
from dispatcher.protocol.statuses import Status
from dispatcher.testing import calls
from dispatcher.testing.calls import NOW_US, a_call, a_resumed_call, answered, broke, http
from dispatcher.testing.clock import FixedRandom

LOST = broke(Failure.CONNECTION)
MINUTE_US = 60_000_000
Run = Answer | AttemptResult


def runs(
    call: Call,
    *answers: Run,
    every_us: int = MINUTE_US,
    others: Literal["succeed", "fail", "none"] = "succeed",
    is_own_state: bool = False,
    suspect_after_ms: int = 600_000,
    streak: Streak = NO_STREAK,
) -> Decision:
    """The decision on the last of some runs of one step, one a minute."""
    decision = None
    for number, answer in enumerate(answers):
        now_us = NOW_US + number * every_us
        decision = decide(
            call,
            Asked(call.step, is_own_state=is_own_state),
            answer,
            Context(
                streak,
                Others(
                    healthy_us=now_us if others == "succeed" else 0,
                    failing=((0, now_us),) if others == "fail" else (),
                ),
            ),
            now_us=now_us,
            random=FixedRandom(),
            rules=Rules(suspect_after_ms=suspect_after_ms),
            next_key=calls.keys(),
        )
        if number < len(answers) - 1:
            assert isinstance(decision.outcome, RetryAt), f"it was over after run {number + 1}"
        streak = decision.streak
    assert decision is not None
    return decision


def has_ended_there(decision: Decision) -> bool:
    if not isinstance(decision.outcome, Exited):
        return False
    assert isinstance(decision.outcome.result, bytes)
    assert CallResult.FromString(decision.outcome.result).error.type == "InvalidResponse"
    assert decision.status is Status.INVALID_RESPONSE
    assert decision.warning is not None
    return True


@pytest.mark.parametrize("make", [a_call, a_resumed_call])
def test_call_that_ended_in_its_process_is_over_after_five(make: Callable[[], Call]) -> None:
    """A response was lost, then 500s and nothing else, while others succeed."""
    assert has_ended_there(runs(make(), LOST, *[http(500)] * 5))


@pytest.mark.parametrize(
    "lost",
    [
        broke(Failure.TIMEOUT),
        broke(Failure.BROKEN),
        broke(Failure.BROKEN, status=200),
        broke(Failure.TLS),
        AttemptResult(None, Failure.CONNECTION, "out of memory", 1, ours=True, was_sent=True),
    ],
)
def test_response_is_lost_once_the_request_was_sent(lost: AttemptResult) -> None:
    """However it was lost."""
    assert has_ended_there(runs(a_call(), lost, *[http(500)] * 5))


@pytest.mark.parametrize(
    "between",
    [
        broke(Failure.CONNECTION, was_sent=False),
        http(502),
        http(503),
        broke(Failure.BROKEN, status=502),
        answered(calls.ended_with(Status.THROTTLED)),
    ],
)
def test_anything_between_shows_another_process(between: Run) -> None:
    """A deploy, or a call that goes on: it is tried until it expires."""
    first = runs(a_call(), LOST, between, *[http(500)] * 9)
    assert isinstance(first.outcome, RetryAt)


def test_500s_without_a_lost_response_are_retried() -> None:
    """An application that is broken is not given up."""
    assert isinstance(runs(a_call(), *[http(500)] * 40).outcome, RetryAt)
    refused = broke(Failure.CONNECTION, was_sent=False)
    assert isinstance(runs(a_call(), refused, *[http(500)] * 40).outcome, RetryAt)


def test_application_that_is_broken_for_a_while_loses_no_call() -> None:
    """It broke off a run, and answers those of others with 500 too: none succeeds, for nine
    minutes."""
    answers = [LOST, *[http(500)] * 9]
    assert isinstance(runs(a_call(), *answers, others="fail").outcome, RetryAt)


def test_call_of_an_application_that_stays_broken_is_over_after_a_while() -> None:
    """Ten minutes of 500s will do, unless that is switched off."""
    answers = [LOST, *[http(500)] * 11]
    assert has_ended_there(runs(a_call(), *answers, others="fail"))
    never = runs(a_call(), *answers, others="fail", suspect_after_ms=0)
    assert isinstance(never.outcome, RetryAt)


def test_call_that_runs_alone_is_over_after_five() -> None:
    """Nobody else says that the application is broken."""
    assert has_ended_there(runs(a_call(), LOST, *[http(500)] * 5, others="none"))


def test_server_that_was_killed_may_have_lost_a_response() -> None:
    """What was due then begins so."""
    begun = Streak(is_lost=True)
    assert has_ended_there(runs(a_call(), *[http(500)] * 5, streak=begun))


def test_state_that_is_suspect_begins_anew() -> None:
    """Five or more for ten minutes on a resume, while others succeed: one warning."""
    decision = runs(a_resumed_call(), *[http(500)] * 11)
    assert isinstance(decision.outcome, RestartAt)
    assert decision.warning is not None
    assert "begins anew" in decision.warning
    assert decision.streak == NO_STREAK


@pytest.mark.parametrize(
    ("answers", "settings"),
    [
        ([http(500)] * 10, {}),  # nine minutes
        ([http(500)] * 11, {"others": "none"}),
        ([http(500)] * 11, {"is_own_state": True}),
        ([http(500)] * 11, {"suspect_after_ms": 0}),
        ([http(500)] * 4, {"every_us": 10 * MINUTE_US}),
        ([http(502)] * 20, {}),
        ([http(503)] * 20, {}),
        ([*[http(500)] * 10, http(502), *[http(500)] * 10], {}),
        ([*[http(500)] * 10, broke(Failure.CONNECTION, was_sent=False), *[http(500)] * 10], {}),
    ],
)
def test_state_is_not_suspect_otherwise(answers: list[Run], settings: dict[str, object]) -> None:
    """A deploy answers 502 and 503; our own SDK says so itself; 0 is never."""
    decision = runs(a_resumed_call(), *answers, **settings)  # type: ignore[arg-type]  # settings of several types
    assert isinstance(decision.outcome, RetryAt)
    assert decision.warning is None


def test_first_run_has_no_state_to_suspect() -> None:
    """It is tried until it expires."""
    assert isinstance(runs(a_call(), *[http(500)] * 30).outcome, RetryAt)


def test_500s_here_do_not_interrupt_a_row() -> None:
    """What was lacking on this machine says nothing about the application."""
    lacking = AttemptResult(None, Failure.CONNECTION, "no descriptors", 1, ours=True)
    decision = runs(a_resumed_call(), *[http(500)] * 6, lacking, *[http(500)] * 4)
    assert isinstance(decision.outcome, RestartAt)


def test_suspect_state_is_given_up_after_restarts() -> None:
    """The bound of INCOMPATIBLE_STATE holds for it too."""
    call = a_resumed_call()
    call.restarts, call.reached = 3, 1
    decision = runs(call, *[http(500)] * 11)
    assert isinstance(decision.outcome, Exited)
    assert decision.status is Status.INCOMPATIBLE_STATE
