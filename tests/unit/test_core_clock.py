"""The real clocks and their twins have one shape and the right units."""

from __future__ import annotations

import random
import time

import pytest

from dispatcher.core.clock import Clock, Random, SystemClock
from dispatcher.testing.clock import FixedRandom, SimulatedClock


def test_system_clock_counts_microseconds() -> None:
    """Wall clock since the epoch, monotonic clock forwards."""
    clock: Clock = SystemClock()
    assert abs(clock.now_us() - time.time() * 1e6) < 5e6
    first = clock.monotonic_us()
    assert abs(first - time.monotonic() * 1e6) < 5e6
    assert clock.monotonic_us() >= first


def test_system_clock_never_says_a_time_before_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is not set may; records hold instants from 1970 on."""
    monkeypatch.setattr(time, "time_ns", lambda: -1)
    assert SystemClock().now_us() == 0


def test_simulated_clock_moves_when_it_is_told_to() -> None:
    """Both clocks together, and only then."""
    clock = SimulatedClock(1_000_000)
    both: Clock = clock
    assert (both.now_us(), both.monotonic_us()) == (1_000_000, 0)
    clock.advance(ms=2, us=5)
    assert (both.now_us(), both.monotonic_us()) == (1_002_005, 2005)


def test_simulated_wall_clock_can_be_turned_back_and_time_cannot() -> None:
    """NTP turns one clock and not the other."""
    clock = SimulatedClock(1_000_000, monotonic_us=7)
    clock.set_wall_clock(5)
    assert (clock.now_us(), clock.monotonic_us()) == (5, 7)
    with pytest.raises(ValueError, match="back"):
        clock.advance(ms=-1)


def test_fixed_random_is_the_same_point_of_every_range() -> None:
    """Both it and the real one fit the seam."""
    sources: list[Random] = [FixedRandom(0.25), random.Random(1)]
    assert sources[0].uniform(4, 8) == 5
    assert 4 <= sources[1].uniform(4, 8) <= 8
    with pytest.raises(ValueError, match="between 0 and 1"):
        FixedRandom(1.5)
