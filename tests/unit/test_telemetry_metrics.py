"""Metrics: the text format, byte for byte."""

from __future__ import annotations

from dispatcher.telemetry.metrics import Metric, render


def test_metric_is_rendered_with_help_type_and_value() -> None:
    """One number, read when it is asked for."""
    numbers = iter([3, 4])
    metric = Metric("a_total", "counter", "What a counts.", lambda: next(numbers))
    expected = "# HELP a_total What a counts.\n# TYPE a_total counter\na_total {}\n"
    assert render([metric]) == expected.format(3)
    assert render([metric]) == expected.format(4)


def test_metric_is_rendered_once_for_each_value_of_its_label() -> None:
    """In the order in which they were counted first."""
    metric = Metric("b", "gauge", "B.", lambda: {"x": 1, "y": 2.5}, label="state")
    assert render([metric]) == ('# HELP b B.\n# TYPE b gauge\nb{state="x"} 1\nb{state="y"} 2.5\n')


def test_metric_with_a_label_is_announced_when_nothing_was_counted() -> None:
    """The name is known before the first event."""
    metric = Metric("c_total", "counter", "C.", dict, label="reason")
    assert render([metric]) == "# HELP c_total C.\n# TYPE c_total counter\n"


def test_help_and_labels_are_escaped() -> None:
    """As the format asks: backslash and line feed, in labels the quotation mark too."""
    metric = Metric("d", "gauge", 'a\\b\n"c"', lambda: {'x\\y\n"z"': 1}, label="l")
    assert render([metric]) == (
        '# HELP d a\\\\b\\n"c"\n# TYPE d gauge\nd{l="x\\\\y\\n\\"z\\""} 1\n'
    )


def test_metrics_follow_each_other() -> None:
    """The text ends with a line feed."""
    metrics = [Metric(name, "gauge", "X.", lambda: 0) for name in ("e", "f")]
    text = render(metrics)
    assert text.index("# HELP e") < text.index("# HELP f")
    assert text.endswith("f 0\n")
