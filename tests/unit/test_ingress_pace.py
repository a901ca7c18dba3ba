"""How slow a body may be, in the clock's own seconds."""

from __future__ import annotations

from dispatcher.ingress.pace import MIN_BYTES_A_SECOND, Pace

GRACE_S = 30.0


def test_body_without_a_byte_is_late_after_the_grace() -> None:
    """Not a moment before."""
    pace = Pace(GRACE_S, 100.0)
    assert not pace.is_late(130.0)
    assert pace.is_late(130.1)


def test_lead_is_never_longer_than_the_grace() -> None:
    """However much came before: a fast start pays for half a minute, not for days."""
    pace = Pace(GRACE_S, 0.0)
    pace.took(1 << 30, 10.0)
    assert not pace.is_late(40.0)
    assert pace.is_late(40.1)


def test_body_at_half_the_rate_lasts_twice_as_long() -> None:
    """Every byte gives back what it would have taken at the rate that is asked for."""
    pace = Pace(GRACE_S, 0.0)
    second = 0.0
    while not pace.is_late(second):
        second += 1.0
        pace.took(MIN_BYTES_A_SECOND // 2, second)
    assert 59 <= second <= 61


def test_time_in_which_nothing_is_read_is_not_counted() -> None:
    """Neither for being late nor for the rate; told twice it counts once."""
    pace = Pace(GRACE_S, 0.0)
    pace.took(10_000, 5.0)
    pace.rest(10.0)
    pace.rest(20.0)
    assert pace.is_resting
    assert not pace.is_late(1000.0)
    pace.go_on(1000.0)
    pace.go_on(1001.0)
    assert not pace.is_resting
    assert pace.bytes_a_second(1000.0) == 1000.0
    assert not pace.is_late(1000.0 + 25.0 - 0.1)
    assert pace.is_late(1000.0 + 25.0 + 0.1)


def test_time_for_which_it_was_kept_waiting_does_not_make_it_late() -> None:
    """Nor does it make it faster than it is."""
    pace = Pace(GRACE_S, 0.0)
    pace.took(1000, 0.0)
    pace.excuse(100.0)
    assert not pace.is_late(129.0)
    assert pace.is_late(131.0)
    assert pace.bytes_a_second(100.0) == 10.0


def test_what_arrives_at_once_is_no_infinite_rate() -> None:
    """Everything takes a second at least, and what is there already counts."""
    pace = Pace(GRACE_S, 0.0)
    pace.took(500, 0.0)
    assert pace.bytes_a_second(0.0) == 500.0
    assert pace.bytes_a_second(2.0, 500) == 500.0
