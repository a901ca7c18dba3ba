"""What the lane of a call learns from the end of a run."""

from __future__ import annotations

import pytest

from dispatcher.core.clock import SteadyClock
from dispatcher.functions.deciding.decisions import Decision, RetryAt
from dispatcher.functions.deciding.judging import Judging
from dispatcher.functions.model import Call
from dispatcher.functions.rules import Asked, Rules
from dispatcher.protocol.messages import Exit, RunResponse
from dispatcher.protocol.statuses import MEANINGS, Concurrency, Status
from dispatcher.testing import calls
from dispatcher.testing.calls import NOW_US, a_call, answered, http
from dispatcher.testing.clock import FixedRandom, SimulatedClock


def judging(clock: SimulatedClock | None = None) -> Judging:
    return Judging(
        {},
        rules=Rules(),
        next_key=calls.keys(),
        clock=SteadyClock(clock or SimulatedClock(NOW_US)),
        random=FixedRandom(0.5),
    )


@pytest.mark.parametrize("status", MEANINGS)
def test_status_says_how_many_runs_there_may_be(status: Status) -> None:
    """More, fewer, or nothing about it: then all stays as it was."""
    judge, call = judging(), a_call()
    came = answered(RunResponse(status=status.value))
    if status is Status.OK:  # without a directive it is against the protocol
        came = answered(RunResponse(status=status.value, exit=Exit()))
    lesson = judge.lesson(judge.decide(call, Asked(call.step), came), came)
    assert lesson.throttles is (status.concurrency is Concurrency.DECREASE)
    assert lesson.is_silent is (status.concurrency is Concurrency.NONE)


def test_http_status_that_is_final_says_that_there_may_be_more() -> None:
    """The application is well."""
    judge, call = judging(), a_call()
    came = http(404)
    assert not judge.lesson(judge.decide(call, Asked(call.step), came), came).is_silent


def judged(judge: Judging, clock: SimulatedClock, *several: Call) -> list[Decision]:
    """What five HTTP 500 of each of some calls come to, one a second by turns."""
    found = []
    for _ in range(5):
        found = [judge.decide(call, Asked(call.step), http(500)) for call in several]
        clock.advance(ms=1000)
    return found


def test_calls_that_were_due_at_a_start_outlive_an_application_that_is_broken() -> None:
    """Of each a response may have been lost, and none succeeds: nothing says that one has ended.
    It is as before once one has."""
    clock = SimulatedClock(NOW_US)
    judge = judging(clock)
    several = [a_call(key) for key in (5, 6, 7)]
    for call in several:
        judge.may_have_run(call.key)
    assert all(isinstance(one.outcome, RetryAt) for one in judged(judge, clock, *several))
    well = answered(calls.ended_with(Status.OK))
    judge.decide(a_call(), Asked(0), well)
    assert judge.decide(several[0], Asked(0), http(500)).status is Status.INVALID_RESPONSE


def test_call_that_was_due_at_a_start_is_over_after_five_where_it_is_alone() -> None:
    """Its process answers so for ever."""
    clock = SimulatedClock(NOW_US)
    judge = judging(clock)
    judge.may_have_run(a_call().key)
    assert judged(judge, clock, a_call())[-1].status is Status.INVALID_RESPONSE
