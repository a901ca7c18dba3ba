"""The two timers of delivery: deadlines of attempts, and idle connections that waited too long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.deadlines import Deadlines
from dispatcher.testing.delivery import outgoing


class Clock:
    """Stands in for the event loop's clock and its timers: one step at a time, no waiting."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.timers: list[asyncio.TimerHandle] = []
        self.loop = asyncio.new_event_loop()

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: object, *args: object) -> asyncio.TimerHandle:
        assert callable(callback)
        handle = asyncio.TimerHandle(when, callback, args, self.loop)
        self.timers.append(handle)
        return handle

    @property
    def armed(self) -> list[float]:
        """When the timers that are not cancelled fire."""
        return sorted(timer.when() for timer in self.timers if not timer.cancelled())

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        self.now_s += seconds
        due = [t for t in self.timers if not t.cancelled() and t.when() <= self.now_s]
        self.timers = [t for t in self.timers if t not in due]
        for timer in due:
            timer._run()


class Fixture:
    """Deadlines on a clock of their own, and who expired."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.expired: list[Attempt] = []
        self.deadlines = Deadlines(self.clock, self.expired.append)  # type: ignore[arg-type]  # the two methods it uses

    def attempt(self, timeout_s: float) -> Attempt:
        """Start one."""
        now_s = self.clock.now_s
        attempt = Attempt(outgoing("a.test"), now_s, now_s + timeout_s)
        self.deadlines.add(attempt)
        return attempt


@pytest.fixture
def fixture() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    fixture.clock.loop.close()


def test_one_timer_serves_all_attempts(fixture: Fixture) -> None:
    """Armed for the nearest; what ends in time leaves it alone."""
    for timeout_s in (10.0, 11.0, 12.0):
        fixture.attempt(timeout_s)
    assert fixture.clock.armed == [110.0]
    nearer = fixture.attempt(5.0)
    assert fixture.clock.armed == [105.0]
    fixture.deadlines.discard(nearer)
    assert fixture.clock.armed == [105.0]
    fixture.clock.advance(5.0)
    assert fixture.expired == []
    assert fixture.clock.armed == [110.0]


def test_attempts_expire_at_their_deadlines(fixture: Fixture) -> None:
    """Each once, in order of time, and then no timer is left."""
    attempts = [fixture.attempt(timeout_s) for timeout_s in (3.0, 1.0, 2.0)]
    for seconds in (1.0, 1.0, 1.0, 5.0):
        fixture.clock.advance(seconds)
    assert fixture.expired == [attempts[1], attempts[2], attempts[0]]
    assert len(fixture.deadlines) == 0
    assert fixture.clock.armed == []


def test_timer_that_fires_a_little_early_counts_as_due(fixture: Fixture) -> None:
    """uvloop rounds to milliseconds: not a loop of timers of no length until the clock moves on."""
    attempt = fixture.attempt(1.0004)
    fixture.clock.timers[0] = fixture.clock.call_at(101.0, fixture.deadlines._fire)
    fixture.clock.advance(1.0)
    assert fixture.expired == [attempt]


def test_expiring_may_add_attempts(fixture: Fixture) -> None:
    """The queue may hand over the next message from within the call."""
    clock = fixture.clock
    added: list[Attempt] = []

    def expire(_: Attempt) -> None:
        attempt = Attempt(outgoing("a.test"), clock.now_s, clock.now_s + 0.5)
        added.append(attempt)
        deadlines.add(attempt)

    deadlines = Deadlines(clock, expire)  # type: ignore[arg-type]  # as above
    deadlines.add(Attempt(outgoing("a.test"), clock.now_s, clock.now_s + 1))
    clock.advance(1.0)
    assert clock.armed == [101.5]
    assert added[0] in deadlines


def test_clearing_stops_the_timer(fixture: Fixture) -> None:
    """And hands out what was under way."""
    attempt = fixture.attempt(1.0)
    assert fixture.deadlines.clear() == [attempt]
    assert fixture.clock.armed == []


@pytest.mark.parametrize(
    "wrong", [{"default_timeout_ms": 0}, {"idle_timeout_ms": 0}, {"max_idle": -1}]
)
def test_config_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    """No invalid value exists later."""
    with pytest.raises(ValueError, match=r"at least 1 ms|not negative"):
        DeliveryConfig(**wrong)  # type: ignore[arg-type]  # only integers here
