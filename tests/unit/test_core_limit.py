"""How the limit of a lane grows and shrinks."""

from __future__ import annotations

import pytest

from dispatcher.core.limit import Limit


def succeed(limit: Limit, rounds: int = 1) -> list[int]:
    """Full rounds of successes; the limit after each."""
    values = []
    for _ in range(rounds):
        for _ in range(limit.value):
            limit.success()
        values.append(limit.value)
    return values


def test_limit_is_one_until_the_first_attempt_has_ended_and_doubles_with_each_round() -> None:
    """Then 2, and slow start up to WORKER."""
    limit = Limit(50)
    assert limit.value == 1
    assert succeed(limit, 7) == [2, 4, 8, 16, 32, 50, 50]


def test_first_attempt_that_fails_without_overload_raises_the_limit_to_two() -> None:
    """A 500 says that somebody is there; a 503 that it is too much already."""
    limit = Limit(50)
    limit.tried()
    assert limit.value == 2
    limit.tried()
    assert succeed(limit, 2) == [4, 8]
    limit = Limit(50)
    limit.overload(started=1, now=2)
    limit.tried()
    assert limit.value == 1


def test_limit_stays_when_the_round_is_not_full() -> None:
    """One success less than the limit changes nothing."""
    limit = Limit(50)
    succeed(limit, 2)
    for _ in range(3):
        limit.success()
    assert limit.value == 4
    limit.success()
    assert limit.value == 8


def test_overload_halves_the_limit_and_ends_the_slow_start() -> None:
    """From then on one more for each round."""
    limit = Limit(64)
    succeed(limit, 5)
    assert limit.overload(started=1, now=5)
    assert limit.value == 16
    assert succeed(limit, 3) == [17, 18, 19]


def test_overload_forgets_the_round_under_way() -> None:
    """After a halving a whole new round is needed."""
    limit = Limit(64)
    succeed(limit, 3)
    for _ in range(7):
        limit.success()
    limit.overload(started=1, now=2)
    assert limit.value == 4
    limit.success()
    assert limit.value == 4


def test_overloads_of_one_round_in_flight_halve_once() -> None:
    """The eight attempts that were in flight together are one event."""
    limit = Limit(64)
    succeed(limit, 3)
    assert [limit.overload(started=start, now=100) for start in range(8)] == [True] + [False] * 7
    assert limit.value == 4


def test_overload_of_an_attempt_started_after_the_halving_halves_again() -> None:
    """It has seen the destination under the lower limit."""
    limit = Limit(64)
    succeed(limit, 3)
    limit.overload(started=1, now=100)
    assert not limit.overload(started=100, now=110)
    assert limit.overload(started=101, now=120)
    assert limit.value == 2


def test_limit_is_never_below_one() -> None:
    """A lane that keeps failing is served one at a time, and can come back."""
    limit = Limit(8)
    for moment in range(0, 100, 10):
        limit.overload(started=moment, now=moment + 5)
    assert limit.value == 1
    assert succeed(limit, 2) == [2, 3]


def test_overload_before_any_success_counts() -> None:
    """Also at time zero, as simulated clocks have it."""
    limit = Limit(10)
    assert limit.overload(started=0, now=0)
    assert limit.value == 1


def test_ceiling_of_one_stays_one() -> None:
    """WORKER=1."""
    limit = Limit(1)
    assert succeed(limit, 3) == [1, 1, 1]
    limit.overload(started=1, now=2)
    assert succeed(limit, 3) == [1, 1, 1]


def test_ceiling_below_one_is_refused() -> None:
    """A lane without any attempt would wait for ever."""
    with pytest.raises(ValueError, match="ceiling"):
        Limit(0)
