"""After how long an attempt counts as slow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.usual import PATIENT_US, Patience, Usual


def _usual(*durations_us: int) -> Usual:
    usual = Usual()
    for duration_us in durations_us:
        usual.observe(duration_us)
    return usual


def test_attempts_are_given_a_quarter_of_a_second_while_little_is_known() -> None:
    """A few durations say nothing."""
    usual = _usual(*[1000] * 19)
    assert usual.patience() == Patience(PATIENT_US, PATIENT_US, PATIENT_US)
    usual.observe(1000)
    assert usual.patience().risky_us < PATIENT_US


def test_patience_is_a_few_times_what_attempts_take_within_bounds() -> None:
    """Destinations that answer within a millisecond, within 40 ms, and within 10 s."""
    quick, usual, slow = (_usual(*[us] * 100).patience() for us in (1000, 40_000, 10_000_000))
    assert quick == Patience(patient_us=250_000, hurried_us=25_000, risky_us=10_000)
    assert usual.patient_us == 250_000
    assert 160_000 <= usual.hurried_us <= 200_000
    assert 80_000 <= usual.risky_us <= 100_000
    assert slow == Patience(patient_us=2_000_000, hurried_us=250_000, risky_us=250_000)


def test_what_attempts_took_long_ago_is_forgotten() -> None:
    """A destination that becomes quick again counts as quick after some thousand attempts."""
    usual = _usual(*[400_000] * 1000, *[1000] * 10_000)
    assert usual.percentile_us(95) == 1024


@given(st.lists(st.integers(0, 100_000_000), min_size=20, max_size=500))
def test_percentile_is_above_that_share_of_durations_and_not_by_much(durations: list[int]) -> None:
    """A step is a quarter of a power of two wide."""
    ordered = sorted(durations)
    found = _usual(*durations).percentile_us(95)
    assert found is not None
    exact = ordered[len(ordered) - 1 - len(ordered) * 5 // 100]
    assert exact < found <= exact * 1.25 + 1
