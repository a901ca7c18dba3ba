"""Prometheus metrics, text format 0.0.4: plain numbers, read when `/metrics` is asked for.

The parts of the server count in plain integers; a `Metric` says what a number means and how to read
it. So counting costs nothing but the addition, and a scrape nothing but the reading.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Value = int | float


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `read` gives one number, or with a `label` one for each of its values."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    read: Callable[[], Value | Mapping[str, Value]]
    label: str | None = None


def render(metrics: Iterable[Metric]) -> str:
    """Read every metric once and write all of them down."""
    return "".join(line + "\n" for metric in metrics for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {_escape_help(metric.help)}"
    yield f"# TYPE {metric.name} {metric.kind}"
    found = metric.read()
    if not isinstance(found, Mapping):
        yield f"{metric.name} {found}"
        return
    for value, number in found.items():
        yield f'{metric.name}{{{metric.label}="{_escape_label(value)}"}} {number}'


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escape_label(text: str) -> str:
    return _escape_help(text).replace('"', r"\"")
