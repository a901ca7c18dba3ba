"""The metrics of destinations: some are told one by one, all are counted by why nothing is sent.

Each destination that is told is a row of time series for whoever scrapes, so there are `MOST_LANES`
at most: up to half of them are those that fail or are held with messages waiting, and the others
those with most messages. What is down is told, however small it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dispatcher.core.clock import SteadyClock
from dispatcher.node.ailing import SHUT_REASONS, Ailments, find_ailing, shut_reason, waiting
from dispatcher.node.whole import AnyLane, Destinations
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.selecting import AT_ONCE, Rank, select
from dispatcher.queue.lanes.gates import opens_at
from dispatcher.telemetry.metrics import AnyMetric, Column, Metric, Rows

MOST_LANES: Final = 100
"""Destinations with metrics of their own."""


@dataclass(slots=True)
class ToldLanes:
    """What a scrape found: the destinations that are told one by one, and all of them counted."""

    lanes: Sequence[AnyLane] = ()
    ailments: Ailments = field(default_factory=Ailments)


async def find_told(lanes: Destinations, clock: SteadyClock, pace: Pace) -> ToldLanes:
    """Look at all lanes, in slices."""
    ailments = await find_ailing(lanes, clock, pace, most=MOST_LANES // 4)
    largest = await select(lanes.in_parts(AT_ONCE), rank=_by_messages, limit=MOST_LANES, pace=pace)
    worst = [*ailments.failing, *ailments.held]
    first = {lane.destination.key: lane for lane in (*worst, *largest.first)}
    return ToldLanes([*first.values()][:MOST_LANES], ailments)


def _by_messages(lane: AnyLane) -> Rank:
    return -waiting(lane), lane.destination.key


def lane_metrics(told: Callable[[], ToldLanes], clock: SteadyClock) -> tuple[AnyMetric, ...]:
    """As `metrics.metrics`; `told` gives what the scrape found."""
    return (
        Metric(
            "dispatcher_destinations_shut",
            "gauge",
            "Destinations to which nothing is sent for now, by the first reason.",
            lambda: dict.fromkeys(SHUT_REASONS, 0) | told().ailments.shut,
            label="reason",
        ),
        Metric(
            "dispatcher_destinations_failing",
            "gauge",
            "Destinations whose breaker is not closed, or whose attempts have failed for a minute.",
            lambda: told().ailments.failing_total,
        ),
        Metric(
            "dispatcher_held_messages",
            "gauge",
            "Messages in the state ready whose destination an operator holds.",
            lambda: told().ailments.held_messages,
        ),
        Metric(
            "dispatcher_lane_shut",
            "gauge",
            "1 for a destination to which nothing is sent for now, with the first reason.",
            lambda: _shut(told().lanes, clock.now_us()),
            label=("destination", "reason"),
        ),
        Rows(
            "destination",
            lambda: {str(lane.destination): lane for lane in told().lanes},
            _columns(clock),
        ),
    )


def _shut(lanes: Sequence[AnyLane], now_us: int) -> dict[tuple[str, ...], int]:
    found = [(str(lane.destination), shut_reason(lane.peer, now_us)) for lane in lanes]
    return {(name, reason): 1 for name, reason in found if reason is not None}


def _columns(clock: SteadyClock) -> tuple[Column[AnyLane], ...]:
    return (
        Column(
            "dispatcher_lane_ready",
            "gauge",
            "Messages that wait for their turn, of the destinations that fail or have the most.",
            lambda lane: lane.shown_ready,
        ),
        Column(
            "dispatcher_lane_scheduled",
            "gauge",
            "Messages that wait for a time: another attempt, or the first one.",
            lambda lane: lane.shown_scheduled,
        ),
        Column(
            "dispatcher_lane_in_flight",
            "gauge",
            "Attempts under way.",
            lambda lane: lane.peer.in_flight,
        ),
        Column(
            "dispatcher_lane_delivered_total",
            "counter",
            "Attempts that succeeded, since the destination has a lane.",
            lambda lane: lane.peer.trail.delivered,
        ),
        Column(
            "dispatcher_lane_failing_seconds",
            "gauge",
            "For how long attempts have been failures in a row; 0 once the destination answered.",
            lambda lane: failing_s(lane, clock.now_us()),
        ),
        Column(
            "dispatcher_lane_limit",
            "gauge",
            "Attempts that a destination may have in flight now.",
            lambda lane: lane.peer.limit.value,
        ),
        Column(
            "dispatcher_lane_rate_reached",
            "gauge",
            "1 for a destination that waits until its rate allows another attempt.",
            lambda lane: int(lane.peer.spent),
        ),
        Column(
            "dispatcher_lane_held",
            "gauge",
            "1 for a destination that an operator holds.",
            lambda lane: int(lane.peer.held),
        ),
        Column(
            "dispatcher_lane_backing_off",
            "gauge",
            "1 for a destination that is left alone for now, not by an operator.",
            lambda lane: int(opens_at(lane.peer, clock.now_us()) > 0),
        ),
    )


def failing_s(lane: AnyLane, now_us: int) -> float:
    """For how long a destination has been failing, in seconds."""
    since = lane.peer.trail.failing_since
    return max(0, now_us - since) / 1_000_000 if since else 0.0
