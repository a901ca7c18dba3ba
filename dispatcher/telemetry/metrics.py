"""Prometheus metrics: plain numbers, read when `/metrics` is asked for.

The parts of the server count in plain integers; a `Metric` says what a number means and how to read
it. So counting costs nothing but the addition, and a scrape nothing but the reading. How it is
written down is prometheus-client's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from dispatcher.core.histogram import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Value = int | float
Numbers: TypeAlias = Value | Mapping[Any, Value]
"""One number, or one for each value of a label (`str`), or of several (`tuple[str, ...]`)."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `read` gives one number, or with a `label` one for each of its values; with
    several labels one for each tuple of theirs."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    read: Callable[[], Numbers]
    label: str | tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A metric of `Rows`: `read` gives its number for one row."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    read: Callable[[T], Value]


@dataclass(frozen=True, slots=True)
class Rows(Generic[T]):
    """Metrics of the same things. `find` gives those by the value of `label`, once for all of the
    metrics: they tell of one moment, and a search that takes a while is made once a scrape."""

    label: str
    find: Callable[[], Mapping[str, T]]
    columns: tuple[Column[T], ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram, which `find` gives when it is written. `per_unit` of its whole numbers are one
    of the unit of the name (a million for microseconds told as seconds)."""

    name: str
    help: str
    find: Callable[[], Histogram]
    per_unit: int = 1


@dataclass(frozen=True, slots=True)
class Distributions:
    """Histograms by the value of `label`. Otherwise as `Distribution`."""

    name: str
    help: str
    label: str
    find: Callable[[], Mapping[str, Histogram]]
    per_unit: int = 1


AnyMetric: TypeAlias = Metric | Distribution | Distributions | Rows[Any]


def render(metrics: Iterable[AnyMetric]) -> str:
    """Read every metric once and write all of them down, in the text format 0.0.4."""
    return "".join(pieces(metrics))


def pieces(metrics: Iterable[AnyMetric]) -> Iterator[str]:
    """What `render` writes, one name after the other: each takes a fraction of a millisecond."""
    for metric in metrics:
        if isinstance(metric, Distributions):
            yield from _one_by_one(metric)
            continue
        for family in _families(metric):
            yield _text(family)


def _one_by_one(metric: Distributions) -> Iterator[str]:
    """Hundreds of lines: a piece for each histogram. Only the first one has the name's header."""
    is_first = True
    for value, histogram in metric.find().items():
        family = HistogramMetricFamily(metric.name, metric.help, labels=[metric.label])
        _add(family, [value], histogram, metric.per_unit)
        lines = _text(family).splitlines(keepends=True)
        yield "".join(line for line in lines if is_first or not line.startswith("#"))
        is_first = False


def _text(family: Family) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(family))
    return generate_latest(registry).decode("utf-8")


def process_text() -> str:
    """What prometheus-client tells of a process, under its own names: CPU time, memory, open files,
    start. Files are counted one by one: with ten thousand that takes 10 ms, so not in the loop."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode("utf-8")


class _Collector(Collector):
    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        yield self._family


def _families(metric: Metric | Distribution | Rows[Any]) -> Iterator[Family]:
    match metric:
        case Metric():
            yield _family(metric, metric.label, metric.read())
        case Distribution():
            yield _histogram(metric)
        case Rows():
            rows = metric.find()
            for column in metric.columns:
                numbers = {value: column.read(row) for value, row in rows.items()}
                yield _family(column, metric.label, numbers)


def _family(
    metric: Metric | Column[Any],
    label: str | tuple[str, ...] | None,
    found: Numbers,
) -> Family:
    labels = [] if label is None else _listed(label)
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        family = CounterMetricFamily(metric.name, metric.help, labels=labels)
    else:
        family = GaugeMetricFamily(metric.name, metric.help, labels=labels)
    if isinstance(found, Mapping):
        for value, number in found.items():
            family.add_metric(_listed(value), number)
    else:
        family.add_metric([], found)
    return family


def _listed(one: str | tuple[str, ...]) -> list[str]:
    return [one] if isinstance(one, str) else [*one]


def _histogram(metric: Distribution) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help)
    _add(family, [], metric.find(), metric.per_unit)
    return family


def _add(
    family: HistogramMetricFamily, labels: list[str], histogram: Histogram, per_unit: int
) -> None:
    bounds = [str(bound / per_unit) for bound in histogram.bounds] + ["+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    family.add_metric(labels, buckets, sum_value=histogram.sum / per_unit)
