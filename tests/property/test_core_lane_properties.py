"""The limit and the breaker of a lane, driven together by a destination in simulated time.

The machine is the smallest scheduler that keeps their rules: it starts attempts where both allow it
and reports how they ended, in any order. A second, simpler account is kept beside it and compared.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dispatcher.core.breaker import FAILURES_TO_OPEN, Breaker, Signal, State
from dispatcher.core.limit import Limit
from dispatcher.testing.clock import SimulatedClock
from tests.effort import times

WORKER = 16
LONGEST_PAUSE_MS = 5_000


class Lane(RuleBasedStateMachine):
    """One lane, attempts in flight, and a model of what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = SimulatedClock(monotonic_us=1)
        self.limit = Limit(WORKER)
        self.breaker = Breaker(LONGEST_PAUSE_MS)
        self.in_flight: list[int] = []
        self.failures_in_a_row = 0
        self.last_opened_us = 0
        self.openings = 0
        self.probe_started_us: int | None = None

    @precondition(lambda self: len(self.in_flight) < self.limit.value)
    @precondition(lambda self: self.breaker.admits(self.clock.monotonic_us()))
    @rule()
    def start(self) -> None:
        """An attempt begins; after a pause it is the probe."""
        self.clock.advance(us=1)
        now = self.clock.monotonic_us()
        if self.breaker.state is State.OPEN:
            assert now >= self.last_opened_us + 1000 * min(
                1000 * 2 ** (self.openings - 1), 30_000, LONGEST_PAUSE_MS
            )
            self.probe_started_us = now
        self.breaker.start(now)
        self.in_flight.append(now)

    @precondition(lambda self: self.in_flight)
    @rule(pick=st.integers(0, WORKER), signal=st.sampled_from(Signal))
    def finish(self, pick: int, signal: Signal) -> None:
        """Any attempt in flight ends, in any way."""
        self.clock.advance(us=1)
        now = self.clock.monotonic_us()
        started = self.in_flight.pop(pick % len(self.in_flight))
        before = self.limit.value
        if signal is Signal.HEALTHY:
            self.limit.success()
            assert before <= self.limit.value <= 2 * before
        if signal is Signal.OVERLOAD:
            halved = self.limit.overload(started, now)
            assert self.limit.value == (max(1, before // 2) if halved else before)
        changed = self.breaker.finish(signal, started, now)
        assert changed == self.model_finish(signal, started, now)

    @precondition(lambda self: not self.in_flight or self.breaker.state is not State.CLOSED)
    @rule(ms=st.sampled_from([1, 500, 1000, 2000, 5000]))
    def wait(self, ms: int) -> None:
        """Time passes."""
        self.clock.advance(ms=ms)

    @rule(count=st.integers(1, 12))
    def overload_burst(self, count: int) -> None:
        """Everything fails for a while, which random results alone seldom do."""
        for _ in range(count):
            if self.breaker.admits(self.clock.monotonic_us()) and not self.in_flight:
                self.start()
            if self.in_flight:
                self.finish(0, Signal.OVERLOAD)

    def model_finish(self, signal: Signal, started: int, now: int) -> bool:
        """What `core.breaker` promises, told otherwise: returns whether the breaker changes."""
        if started <= self.last_opened_us:
            return False
        if self.probe_started_us is not None:
            assert started == self.probe_started_us
            self.probe_started_us = None
            if signal is Signal.HEALTHY:
                self.failures_in_a_row = self.openings = 0
            elif signal is not Signal.NEUTRAL:
                self.open(now)
            return True
        if signal is Signal.HEALTHY:
            self.failures_in_a_row = 0
        elif signal is not Signal.NEUTRAL:
            self.failures_in_a_row += 1
            if self.failures_in_a_row == FAILURES_TO_OPEN:
                self.open(now)
                return True
        return False

    def open(self, now: int) -> None:
        self.last_opened_us = now
        self.openings += 1

    @invariant()
    def limit_is_in_its_range(self) -> None:
        """Down to one, up to WORKER."""
        assert 1 <= self.limit.value <= WORKER

    @invariant()
    def state_is_what_the_model_says(self) -> None:
        """And one probe at most is out."""
        if self.probe_started_us is not None:
            assert self.breaker.state is State.HALF_OPEN
            assert sum(started > self.last_opened_us for started in self.in_flight) == 1
        else:
            closed = self.openings == 0
            assert self.breaker.state is (State.CLOSED if closed else State.OPEN)


Lane.TestCase.settings = settings(max_examples=times(40), stateful_step_count=60, deadline=None)
TestLane = Lane.TestCase


def test_lane_recovers_from_any_outage() -> None:
    """After an outage of any length the breaker closes with the first probe that gets through."""
    clock = SimulatedClock(monotonic_us=1)
    limit, breaker = Limit(WORKER), Breaker()
    for outage_s in (1, 7, 60, 3600):
        back_us = clock.monotonic_us() + outage_s * 1_000_000
        while breaker.state is not State.CLOSED or clock.monotonic_us() < back_us:
            if not breaker.admits(clock.monotonic_us()):
                clock.advance(us=breaker.open_until_us - clock.monotonic_us())
            started = clock.monotonic_us()
            breaker.start(started)
            clock.advance(ms=1)
            up = started >= back_us
            breaker.finish(Signal.HEALTHY if up else Signal.OVERLOAD, started, clock.monotonic_us())
            if not up:
                limit.overload(started, clock.monotonic_us())
        assert clock.monotonic_us() - back_us <= 30_100_000
        assert limit.value == 1
