"""Metrics of many things, which are looked for once a scrape."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from dispatcher.telemetry.metrics import Column, Metric, Rows, render


def test_rows_are_found_once_for_all_their_metrics() -> None:
    """Each metric has a sample for each row, and stands where the rows stand."""
    looks = 0

    def find() -> dict[str, tuple[int, int]]:
        nonlocal looks
        looks += 1
        return {"a": (1, 2), 'b"\\\n': (3, 4)}

    rows = Rows(
        "destination",
        find,
        (
            Column("ready", "gauge", "R.", lambda row: row[0]),
            Column("sent_total", "counter", "S.", lambda row: row[1]),
        ),
    )
    text = render([Metric("first", "gauge", "F.", lambda: 0), rows])
    families = list(text_string_to_metric_families(text))
    assert [(one.name, one.type, one.documentation) for one in families] == [
        ("first", "gauge", "F."),
        ("ready", "gauge", "R."),
        ("sent", "counter", "S."),
    ]
    samples = {(one.name, one.labels.get("destination")): one.value
               for family in families for one in family.samples}  # fmt: skip
    assert samples == {
        ("first", None): 0,
        ("ready", "a"): 1,
        ("ready", 'b"\\\n'): 3,
        ("sent_total", "a"): 2,
        ("sent_total", 'b"\\\n'): 4,
    }
    assert looks == 1


def test_rows_are_announced_when_there_are_none() -> None:
    """The names are known before the first of them."""
    none: dict[str, int] = {}
    rows = Rows("lane", lambda: none, (Column("x", "gauge", "X.", lambda row: row),))
    assert render([rows]) == "# HELP x X.\n# TYPE x gauge\n"
