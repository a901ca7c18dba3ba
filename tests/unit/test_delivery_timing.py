"""The two timers of delivery: deadlines of attempts, and idle connections that waited too long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.deadlines import Deadlines
from dispatcher.testing.delivery import RecordingHome


class Clock:
    """Stands in for the event loop: its clock, its timers and its turns, one step at a time."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.timers: list[asyncio.TimerHandle] = []
        self.soon: list[asyncio.Handle] = []
        self.fired = 0
        self.reported: list[str] = []
        self.loop = asyncio.new_event_loop()

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: object, *args: object) -> asyncio.TimerHandle:
        assert callable(callback)
        handle = asyncio.TimerHandle(when, callback, args, self.loop)
        self.timers.append(handle)
        return handle

    def call_soon(self, callback: object, *args: object) -> asyncio.Handle:
        assert callable(callback)
        self.soon.append(asyncio.Handle(callback, args, self.loop))
        return self.soon[-1]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(str(context["exception"]))

    @property
    def armed(self) -> list[float]:
        """When the timers that are not cancelled fire."""
        return sorted(timer.when() for timer in self.timers if not timer.cancelled())

    def fire(self) -> bool:
        """Call the timer that is due, if there is one."""
        due = [t for t in self.timers if not t.cancelled() and t.when() <= self.now_s]
        self.timers = [t for t in self.timers if t not in due]
        self.fired += len(due)
        for timer in due:
            timer._run()
        return bool(due)

    def turn(self) -> None:
        """Call what was to be called soon."""
        soon, self.soon = self.soon, []
        for handle in soon:
            handle._run()

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what is due, each at its time."""
        until_s = self.now_s + seconds
        while self.armed and self.armed[0] <= until_s:
            self.now_s = max(self.now_s, self.armed[0])
            self.fire()
            while self.soon:
                self.turn()
        self.now_s = until_s


class Fixture:
    """Deadlines on a clock of their own, and who expired."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.expired: list[Attempt] = []
        self.deadlines = Deadlines(self.clock, self.expired.append)  # type: ignore[arg-type]  # the three methods it uses

    def attempt(self, timeout_s: float) -> Attempt:
        """Start one."""
        now_s = self.clock.now_s
        attempt = Attempt(RecordingHome().outgoing("a.test"), now_s, now_s + timeout_s)
        self.deadlines.add(attempt)
        return attempt


@pytest.fixture
def fixture() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    fixture.clock.loop.close()


def test_one_timer_serves_all_attempts(fixture: Fixture) -> None:
    """A quarter of a second after the first; then for the nearest deadline of those that are
    left."""
    attempts = [fixture.attempt(timeout_s) for timeout_s in (12.0, 11.0, 10.0)]
    assert fixture.clock.armed == [100.25]
    fixture.deadlines.discard(attempts[1])
    fixture.clock.advance(0.25)
    assert fixture.clock.armed == [110.0]
    assert len(fixture.deadlines) == 2
    fixture.deadlines.discard(attempts[2])
    fixture.clock.advance(9.75)
    assert fixture.expired == []
    assert fixture.clock.armed == [112.0]


def test_attempts_that_end_in_time_cost_no_timers(fixture: Fixture) -> None:
    """However many they are, and however long their timeouts."""
    for _ in range(4000):
        attempt = fixture.attempt(10.0)
        fixture.clock.advance(0.001)
        fixture.deadlines.discard(attempt)
    assert fixture.clock.fired <= 4 / 0.25 + 1
    assert len(fixture.clock.armed) <= 1
    fixture.clock.advance(15.0)
    assert fixture.clock.armed == []


def test_attempts_that_hang_are_not_looked_at_over_and_over(fixture: Fixture) -> None:
    """Ten thousand, one a millisecond, which end one a millisecond: the timer fires for each and
    for no more, and what ended is not kept."""
    deadlines, clock = fixture.deadlines, fixture.clock
    attempts = []
    for _ in range(10_000):
        attempts.append(fixture.attempt(15.0))
        clock.advance(0.001)
    assert len(deadlines) == 10_000
    fired = clock.fired
    for attempt in attempts[:9_000]:
        deadlines.discard(attempt)
    assert len(deadlines._heap) < 2 * 1_000 + 100
    clock.advance(15.0)
    assert fixture.expired == attempts[9_000:]
    assert clock.fired - fired < 1_100
    assert clock.armed == []


def test_attempts_expire_at_their_deadlines(fixture: Fixture) -> None:
    """Each once, in order of time, and then no timer is left."""
    attempts = [fixture.attempt(timeout_s) for timeout_s in (3.0, 1.0, 2.0, 0.1)]
    for seconds, expired in ((0.099, 0), (0.002, 1), (0.898, 1), (0.002, 2), (1.0, 3), (1.0, 4)):
        fixture.clock.advance(seconds)
        assert len(fixture.expired) == expired
    assert fixture.expired == [attempts[3], attempts[1], attempts[2], attempts[0]]
    assert len(fixture.deadlines) == 0
    fixture.clock.advance(5.0)
    assert fixture.clock.armed == []


def test_timer_that_fires_a_little_early_counts_as_due(fixture: Fixture) -> None:
    """uvloop rounds to milliseconds: not a loop of timers of no length until the clock moves on."""
    attempt = fixture.attempt(0.1004)
    fixture.clock.timers[-1] = fixture.clock.call_at(100.1, fixture.deadlines._fire)
    fixture.clock.advance(0.1)
    assert fixture.expired == [attempt]


def test_late_deadline_gives_up_only_after_the_sockets_were_read(fixture: Fixture) -> None:
    """The process stood still; what came meanwhile is read in the turn after the timers."""
    answered, silent = fixture.attempt(3.0), fixture.attempt(3.0)
    fixture.clock.now_s += 5.0
    while fixture.clock.fire():
        pass
    assert fixture.expired == []
    fixture.clock.turn()
    assert fixture.expired == []
    fixture.deadlines.discard(answered)
    fixture.clock.turn()
    assert fixture.expired == [silent]
    assert len(fixture.deadlines) == 0


def test_expiring_may_add_attempts(fixture: Fixture) -> None:
    """The queue may hand over the next message from within the call."""
    clock = fixture.clock
    added: list[Attempt] = []

    def expire(_: Attempt) -> None:
        attempt = Attempt(RecordingHome().outgoing("a.test"), clock.now_s, clock.now_s + 0.5)
        added.append(attempt)
        deadlines.add(attempt)

    deadlines = Deadlines(clock, expire)  # type: ignore[arg-type]  # as above
    deadlines.add(Attempt(RecordingHome().outgoing("a.test"), clock.now_s, clock.now_s + 1))
    clock.advance(1.0)
    assert list(deadlines) == added
    assert added[0] in deadlines
    clock.advance(0.5)
    assert len(added) == 2


def test_attempt_that_fails_to_expire_does_not_keep_the_others(fixture: Fixture) -> None:
    """It is reported, and those that are due with it end all the same."""
    clock = fixture.clock
    expired: list[Attempt] = []

    def expire(attempt: Attempt) -> None:
        if attempt is first:
            raise ValueError("a mistake in this program")
        expired.append(attempt)

    deadlines = Deadlines(clock, expire)  # type: ignore[arg-type]  # as above
    deadline_s = clock.now_s + 0.1  # so soon that they expire in this order
    first, *others = [
        Attempt(RecordingHome().outgoing("a.test"), clock.now_s, deadline_s) for _ in range(3)
    ]
    for attempt in (first, *others):
        deadlines.add(attempt)
    clock.advance(1.0)
    assert expired == others
    assert clock.reported == ["a mistake in this program"]
    assert len(deadlines) == 0


def test_clearing_stops_the_timer(fixture: Fixture) -> None:
    """And hands out what was under way."""
    old = fixture.attempt(1.0)
    fixture.clock.advance(0.3)
    young = fixture.attempt(1.0)
    assert set(fixture.deadlines.clear()) == {old, young}
    assert fixture.clock.armed == []
    assert len(fixture.deadlines) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_timeout_ms": 0},
        {"idle_timeout_ms": 0},
        {"max_age_ms": 0},
        {"max_idle": -1},
        {"max_leaving": -1},
        {"max_lookups": 0},
    ],
)
def test_config_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    """No invalid value exists later."""
    with pytest.raises(ValueError, match=r"at least 1 ms|not negative|at least one"):
        DeliveryConfig(**wrong)  # type: ignore[arg-type]  # only integers here
