"""Metrics: what a scraper reads is what the parts counted."""

from __future__ import annotations

import itertools

from prometheus_client.parser import text_string_to_metric_families

from dispatcher.core.histogram import Histogram
from dispatcher.telemetry.metrics import Distribution, Metric, render


def scraped(*metrics: Metric | Distribution) -> dict[tuple[str, str], float]:
    """Samples by name and the value of their label, as Prometheus reads them."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(render(metrics))
        for sample in family.samples
    }


def test_metric_is_read_each_time_it_is_asked_for() -> None:
    """One number, under its name, with its help and its type."""
    numbers = iter([3, 4])
    metric = Metric("a_total", "counter", "What a counts.", lambda: next(numbers))
    assert scraped(metric) == {("a_total", ""): 3}
    expected = "# HELP a_total What a counts.\n# TYPE a_total counter\na_total 4.0\n"
    assert render([metric]) == expected


def test_metric_has_a_sample_for_each_value_of_its_label() -> None:
    """Whatever the value looks like."""
    values = {"x": 1, 'back\\slash "quoted"\nline': 2.5}
    metric = Metric("b", "gauge", 'B "b" \\ \n', lambda: values, label="state")
    assert scraped(metric) == {("b", value): number for value, number in values.items()}


def test_metric_may_have_several_labels() -> None:
    """A number for each tuple of their values."""
    metric = Metric("e", "gauge", "E.", lambda: {("a", "b"): 1}, label=("x", "y"))
    assert render([metric]) == '# HELP e E.\n# TYPE e gauge\ne{x="a",y="b"} 1.0\n'


def test_metric_with_a_label_is_announced_when_nothing_was_counted() -> None:
    """The name is known before the first event."""
    metric = Metric("c_total", "counter", "C.", dict, label="reason")
    assert render([metric]) == "# HELP c_total C.\n# TYPE c_total counter\n"


def test_value_is_counted_where_it_belongs_whatever_came_before() -> None:
    """Where the last one was counted is remembered."""
    bounds = [0, 10, 20, 40]
    values = [-1, 0, 1, 10, 11, 20, 40, 41, 1000]
    for pair in itertools.product(values, repeat=2):
        histogram = Histogram(bounds)
        for value in pair:
            histogram.observe(value, 3)
        expected = [0] * 5
        for value in pair:
            expected[sum(value > bound for bound in bounds)] += 3
        assert (histogram.counts, histogram.sum) == (expected, 3 * sum(pair)), pair


def test_distribution_is_cumulative_and_in_the_unit_of_its_name() -> None:
    """A value on a bound belongs to it; what is above all of them is in +Inf."""
    histogram = Histogram([1000, 5000])
    for value in (10, 1000, 1001, 90_000):
        histogram.observe(value)
    assert scraped(Distribution("d_seconds", "D.", lambda: histogram, per_unit=1000)) == {
        ("d_seconds_bucket", "1.0"): 2,
        ("d_seconds_bucket", "5.0"): 3,
        ("d_seconds_bucket", "+Inf"): 4,
        ("d_seconds_count", ""): 4,
        ("d_seconds_sum", ""): 92.011,
    }
