"""The metrics of a node of a cluster: the partitions that it has, and how fresh its leases are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dispatcher.telemetry.metrics import AnyMetric, Metric


@dataclass(frozen=True, slots=True)
class LeaseFigures:
    """What a node of a cluster counts: the partitions that it has now, how often it has taken one
    over, and how long ago the eldest renewal was sent of those that its leases rest on."""

    owned: Callable[[], Sequence[int]]
    takeovers: Callable[[], int]
    late_s: Callable[[], float]


def lease_metrics(leases: LeaseFigures) -> tuple[AnyMetric, ...]:
    """As `metrics.metrics`, for a node of a cluster."""
    return (
        Metric(
            "dispatcher_partition_owned",
            "gauge",
            "1 for each partition that this node accepts and delivers messages of.",
            lambda: {str(number): 1 for number in leases.owned()},
            label="partition",
        ),
        Metric(
            "dispatcher_takeovers_total",
            "counter",
            "Partitions that this node has taken over from another one, or from its own former"
            " process.",
            leases.takeovers,
        ),
        Metric(
            "dispatcher_lease_late_seconds",
            "gauge",
            "How long ago the eldest renewal was sent that the leases of this node rest on; after"
            " 2.4 seconds it starts no attempt; 0 where it has no partition.",
            leases.late_s,
        ),
    )
