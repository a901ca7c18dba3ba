"""Restarts that get no further, whatever the settings say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.functions import limits
from dispatcher.functions.deciding.deciding import decide
from dispatcher.functions.deciding.decisions import Context, RestartAt
from dispatcher.functions.events import Exited
from dispatcher.functions.rules import Asked, Rules
from dispatcher.protocol.statuses import Status
from dispatcher.testing import calls
from dispatcher.testing.calls import NOW_US, a_resumed_call, answered
from dispatcher.testing.clock import FixedRandom

MINUTE_MS = 60_000
A_YEAR_US = 365 * 86_400_000_000


@given(
    st.builds(
        Rules,
        retry_delay_ms=st.integers(1, MINUTE_MS),
        retry_max_delay_ms=st.integers(100, 10 * MINUTE_MS),
        suspect_after_ms=st.integers(0, 12_000),
    ),
    st.floats(0, 1).map(FixedRandom),
)
def test_restarts_end_but_not_before_their_number_and_their_time(
    rules: Rules, random: FixedRandom
) -> None:
    """Each is delayed by less than the longest delay, and jitter takes a fifth of it at most."""
    call = a_resumed_call()
    call.expires_us, call.reached = NOW_US + A_YEAR_US, 1
    answer = answered(calls.ended_with(Status.INCOMPATIBLE_STATE))
    now_us = NOW_US
    for restarts in range(1000):
        call.restarts = restarts
        outcome = decide(
            call, Asked(call.step), answer, Context(),
            now_us=now_us, random=random, rules=rules, next_key=calls.keys(),
        ).outcome  # fmt: skip
        if isinstance(outcome, Exited):
            break
        assert isinstance(outcome, RestartAt)
        assert now_us <= outcome.due_us <= now_us + rules.retry_max_delay_ms * 1000
        now_us = outcome.due_us
    assert isinstance(outcome, Exited)
    assert restarts >= limits.MOST_RESTARTS
    # A delay is whole milliseconds.
    assert now_us - NOW_US >= (rules.suspect_after_ms * 4 // 5 - restarts) * 1000
