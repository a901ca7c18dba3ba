"""What the lane of a call learns from the end of a run."""

from __future__ import annotations

import pytest

from dispatcher.core.clock import SteadyClock
from dispatcher.functions.deciding.judging import Judging
from dispatcher.functions.rules import Asked, Rules
from dispatcher.protocol.messages import Exit, RunResponse
from dispatcher.protocol.statuses import MEANINGS, Concurrency, Status
from dispatcher.testing import calls
from dispatcher.testing.calls import a_call, answered, http
from dispatcher.testing.clock import FixedRandom, SimulatedClock


def judging() -> Judging:
    return Judging(
        {},
        rules=Rules(),
        next_key=calls.keys(),
        clock=SteadyClock(SimulatedClock()),
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
