"""What is shown of the attempts of a destination: counts, rates, durations, the last failure."""

from __future__ import annotations

import pytest

from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.trail import Trail

SECOND = 1_000_000
BEGAN = 1_700_000_000 * SECOND


def succeed(trail: Trail, at_us: int, took_us: int = 5_000) -> int:
    """One success; returns how many were timed with it."""
    trail.left -= 1
    return trail.timed(took_us, at_us) if trail.left <= 0 else 0


def test_every_success_is_counted_although_few_are_timed() -> None:
    """What is timed stands for those that are not."""
    trail = Trail()
    stood_for = 0
    for number in range(1, 101):
        stood_for += succeed(trail, BEGAN + number)
        assert trail.delivered == number
        assert 0 <= number - stood_for < 8
    assert stood_for == 100


@pytest.mark.parametrize("per_second", [1, 7, 200])
def test_rate_is_that_of_the_last_minute(per_second: int) -> None:
    """While messages flow evenly, and when they have stopped."""
    trail = Trail()
    assert trail.per_second(BEGAN) == 0
    step = SECOND // per_second
    for number in range(per_second * 200):
        succeed(trail, BEGAN + number * step)
    end = BEGAN + 200 * SECOND
    assert trail.per_second(end) == pytest.approx(per_second, rel=0.15)
    assert trail.per_second(end + 30 * SECOND) == pytest.approx(per_second / 2, rel=0.15)
    assert trail.per_second(end + 70 * SECOND) <= 8 / 60


def test_rate_of_a_beginning_counts_what_there_was() -> None:
    """Thirty in the first seconds are half a message a second of the last minute."""
    trail = Trail()
    for number in range(30):
        succeed(trail, BEGAN + number * SECOND // 10)
    assert trail.per_second(BEGAN + 3 * SECOND) == pytest.approx(0.5)


def test_percentiles_are_of_the_last_attempts_that_were_timed() -> None:
    """Failures among them: a timeout is how long that attempt took."""
    trail = Trail()
    assert trail.percentiles_ms() is None
    for _ in range(1_000):
        succeed(trail, BEGAN, took_us=900_000)
    for _ in range(64 * 8):
        succeed(trail, BEGAN, took_us=2_000)
    for _ in range(6):
        trail.failed(
            AttemptResult(None, Failure.TIMEOUT, "", 0), 30 * SECOND, BEGAN, answered=False
        )
    assert trail.percentiles_ms() == pytest.approx((2, 30_000), rel=0.25)


def test_last_error_stays_and_says_whether_it_goes_on() -> None:
    """The first of the failures in a row is remembered; an answer about the message ends them."""
    trail = Trail()
    assert (trail.last_error, trail.failed_at, trail.failing_since) == (None, 0, 0)
    trail.failed(AttemptResult(503, None, "", 1), 9, BEGAN + 1, answered=False)
    trail.failed(AttemptResult(None, Failure.DNS, "", 1), 9, BEGAN + 5, answered=False)
    assert (trail.last_error, trail.failed_at) == ("dns_failed", BEGAN + 5)
    assert trail.failing_since == BEGAN + 1
    trail.failed(AttemptResult(404, None, "", 1), 9, BEGAN + 8, answered=True)
    assert (trail.last_error, trail.failed_at, trail.failing_since) == ("http_404", BEGAN + 8, 0)
