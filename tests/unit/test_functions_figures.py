"""Figures of calls: bounded, and as things happen."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from dispatcher.core.histogram import Histogram
from dispatcher.functions.shown import CallState, Entry, Step
from dispatcher.functions.views.figures import MOST_FUNCTIONS, OTHER, Figures
from dispatcher.telemetry.metrics import Distributions, render


def ran(status: str, duration_ms: int = 20) -> Entry:
    """A run."""
    return Entry(Step.RUN, 1, attempt=1, duration_ms=duration_ms, status=status)


def test_functions_beyond_a_hundred_are_counted_together() -> None:
    """Their names are callers', and each is a time series; those that were there first stay."""
    figures = Figures()
    for number in range(MOST_FUNCTIONS + 50):
        figures.count(f"f{number}", ran("ok"))
    figures.count("f0", ran("throttled"))
    assert len(figures.functions) == MOST_FUNCTIONS + 1
    assert (figures.functions["f0"].runs, figures.functions["f0"].failures) == (2, 1)
    assert figures.functions[OTHER].runs == 50
    assert figures.runs == {"ok": MOST_FUNCTIONS + 50, "throttled": 1}


def test_calls_are_counted_when_they_begin_and_by_how_they_end() -> None:
    """What happens in between counts for neither."""
    figures = Figures()
    for entry in (
        Entry(Step.CREATED, 1),
        Entry(Step.CREATED, 1),
        Entry(Step.SUSPENDED, 2),
        Entry(Step.ENDED, 3, status="cancelled"),
    ):
        figures.count("f", entry)
    assert figures.created == 2
    assert figures.ended == {CallState.CANCELLED: 1}


def test_histograms_of_one_name_are_one_metric() -> None:
    """Prometheus refuses a name whose header comes twice."""
    found = {"a": Histogram([10, 100]), 'b"\n': Histogram([10, 100])}
    found["a"].observe(7)
    found['b"\n'].observe(50)
    text = render([Distributions("runs_seconds", "How long.", "function", lambda: found, 1000)])
    assert text.count("# TYPE") == 1
    (family,) = text_string_to_metric_families(text)
    counts = {
        (sample.labels["function"], sample.labels["le"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    assert counts["a", "0.01"] == counts['b"\n', "0.1"] == 1
    assert counts['b"\n', "0.01"] == 0
