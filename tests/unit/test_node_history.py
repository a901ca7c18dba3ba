"""The last hour: what is remembered of it, and what is foreseen from it."""

from __future__ import annotations

import pytest

from dispatcher.node.history import POINTS, STEP_US, Counts, History, Sample, foresee

BEGAN = 1_000 * STEP_US
BOUNDS = (1_000, 10_000, 100_000)


def spread(*counts: int) -> Counts:
    """A histogram whose values are spread evenly in each bucket."""
    middles = (500, 5_500, 55_000, 100_000)
    total = sum(count * middle for count, middle in zip(counts, middles, strict=True))
    return Counts(BOUNDS, counts, total)


def sample(accepted: int, ready: float | None = 0, *counts: int) -> Sample:
    """One with a total, a gauge and a histogram."""
    timing = spread(*(counts or (0, 0, 0, 0)))
    return Sample({"accepted": accepted}, {"ready": ready}, {"accept": timing})


def test_totals_are_told_as_differences_and_gauges_as_they_are() -> None:
    """Of the last 360 steps, the oldest first."""
    history = History()
    for step in range(POINTS + 50):
        history.add(BEGAN + step * STEP_US + 7, sample(100 + step * 3, step))
    assert history.ends_at_us == BEGAN + (POINTS + 49) * STEP_US
    assert history.series()["accepted"] == [3] * POINTS
    assert history.points("ready") == list(range(50, POINTS + 50))


def test_beginning_is_empty_and_every_series_has_all_points() -> None:
    """With the first sample the gauges are known, and differences with the second."""
    history = History()
    history.add(BEGAN, sample(5, 1))
    history.add(BEGAN + STEP_US, sample(9, 2))
    series = history.series()
    assert {len(points) for points in series.values()} == {POINTS}
    assert series["accepted"][-2:] == [None, 4]
    assert series["ready"][-3:] == [None, 1, 2]


def test_step_without_a_sample_is_a_gap_and_not_nothing() -> None:
    """The process was stopped; what came of it is told with the next step. A sample that comes
    twice in a step changes nothing, and after hours all is a gap."""
    history = History()
    history.add(BEGAN, sample(0, 1))
    history.add(BEGAN + 4 * STEP_US, sample(8, 2))
    history.add(BEGAN + 4 * STEP_US + 9, sample(99, 3))
    assert history.points("accepted")[-4:] == [None, None, None, 8]
    history.add(BEGAN + 10_000 * STEP_US, sample(8, 2))
    assert history.points("ready") == [None] * (POINTS - 1) + [2]


def test_series_that_come_later_or_stop_have_gaps() -> None:
    """All are as long, and end with the same step."""
    history = History()
    history.add(BEGAN, Sample({"accepted": 1}, {}))
    more = Sample({"accepted": 3, "calls": 7}, {"new": 5}, {"accept": spread(0, 0, 0, 0)})
    history.add(BEGAN + STEP_US, more)
    history.add(BEGAN + 2 * STEP_US, Sample({"calls": 9}, {"new": 6}))
    series = history.series()
    assert {len(points) for points in series.values()} == {POINTS}
    assert series["accepted"][-3:] == [None, 2, None]
    assert series["calls"][-3:] == [None, None, 2]
    assert series["new"][-3:] == [None, 5, 6]


def test_percentiles_are_of_what_a_step_added() -> None:
    """A gap where nothing was measured in it."""
    history = History()
    history.add(BEGAN, sample(0, 0, 500, 0, 0, 0))
    history.add(BEGAN + STEP_US, sample(0, 0, 500, 100, 0, 0))
    history.add(BEGAN + 2 * STEP_US, sample(0, 0, 500, 100, 0, 0))
    assert history.points("accept_p50_ms")[-2:] == [pytest.approx(5.5), None]
    assert history.points("accept_p95_ms")[-2:] == [pytest.approx(9.55), None]


@pytest.mark.parametrize(
    ("counts", "percent", "expected"),
    [
        ((0, 0, 0, 0), 50, None),
        ((10, 0, 0, 0), 50, 500),
        ((0, 0, 0, 3), 50, 100_000),
        ((50, 0, 50, 0), 50, 1_000),
        ((50, 0, 50, 0), 95, 91_000),
    ],
)
def test_percentile_lies_within_its_bucket(
    counts: tuple[int, ...], percent: int, expected: float | None
) -> None:
    """What is above all bounds counts as the highest of them."""
    assert spread(*counts).percentile(percent) == pytest.approx(expected)


def test_percentile_of_values_that_are_all_alike_is_that_value() -> None:
    """Attempts that a timeout of just more than a bound ended, and one that was quick."""
    alike = Counts(BOUNDS, (0, 0, 50, 0), 50 * 10_050)
    assert alike.percentile(50) == pytest.approx(10_050)
    assert alike.percentile(95) == pytest.approx(10_050, rel=0.01)
    with_one_more = Counts(BOUNDS, (1, 0, 50, 0), 50 * 10_050 + 400)
    assert with_one_more.percentile(95) == pytest.approx(10_050, rel=0.02)


def test_disk_is_foreseen_to_be_full_as_it_fills() -> None:
    """By the line through the hour; a gap in it changes nothing."""
    free: list[float | None] = [100_000 - 100 * number for number in range(100)]
    free[40:50] = [None] * 10
    forecast = foresee(free, 1)
    assert forecast is not None
    assert forecast.full_in_s == pytest.approx((100_000 - 9_900) / 100, rel=0.001)
    assert forecast.known_s == 100


@pytest.mark.parametrize(
    ("points", "is_foreseen"), [(30, False), (90, False), (POINTS - 1, False), (POINTS, True)]
)
def test_disk_that_is_full_in_some_days_is_foreseen_by_a_whole_hour(
    points: int, is_foreseen: bool
) -> None:
    """Before it is known, that may be what a start took, once."""
    free = [1_000_000.0 - number for number in range(points)]
    assert (foresee(free, 10) is not None) == is_foreseen


def test_disk_that_is_full_within_hours_is_foreseen_after_minutes() -> None:
    """As far ahead as two hours by five minutes."""
    free = [719.0 * 10 - number * 10 for number in range(30)]
    forecast = foresee(free, 10)
    assert forecast is not None
    assert forecast.full_in_s == pytest.approx(6_900)
    assert foresee([one + 400 for one in free], 10) is None


@pytest.mark.parametrize(
    "free", [[], [5_000] * 100, list(range(100)), [100 - number for number in range(20)]]
)
def test_disk_that_does_not_fill_is_never_full(free: list[float]) -> None:
    """Nor one that is not known for five minutes yet."""
    assert foresee(free, 10) is None
