"""The metrics of function calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dispatcher.core.breaker import State
from dispatcher.functions.lanes.lane import Lane
from dispatcher.functions.views.overview import Overview
from dispatcher.telemetry.metrics import AnyMetric, Column, Distributions, Metric, Rows


def call_metrics(calls: Overview, lanes: Callable[[], Sequence[Lane]]) -> tuple[AnyMetric, ...]:
    """As `metrics.metrics`. `lanes` gives those that are told one by one."""
    figures = calls.figures
    return (
        Metric(
            "dispatcher_call_workers",
            "gauge",
            "Runs of function calls that may be under way at once: CALL_WORKER as it is in force.",
            lambda: calls.workers,
        ),
        Metric(
            "dispatcher_call_workers_busy",
            "gauge",
            "Runs of function calls under way, without those that are fetched.",
            lambda: calls.workers_busy,
        ),
        Metric(
            "dispatcher_calls_created_total",
            "counter",
            "Function calls that were made durable: dispatched, called by others, or redriven.",
            lambda: figures.created,
        ),
        Metric(
            "dispatcher_calls_ended_total",
            "counter",
            "Function calls that ended, by how.",
            lambda: {how.value: count for how, count in figures.ended.items()},
            label="how",
        ),
        Metric(
            "dispatcher_calls_dead_total",
            "counter",
            "Root calls that failed or expired: each becomes a dead letter.",
            lambda: figures.dead,
        ),
        Metric(
            "dispatcher_call_runs_total",
            "counter",
            "Runs of functions that ended, by their status.",
            lambda: dict(figures.runs),
            label="status",
        ),
        Metric(
            "dispatcher_calls",
            "gauge",
            "Function calls now, by state.",
            calls.states,
            label="state",
        ),
        Rows(
            "function",
            lambda: figures.functions,
            (
                Column(
                    "dispatcher_function_runs_total",
                    "counter",
                    "Runs of a function; after a hundred functions of all others together.",
                    lambda function: function.runs,
                ),
                Column(
                    "dispatcher_function_failures_total",
                    "counter",
                    "Runs of a function with another status than OK.",
                    lambda function: function.failures,
                ),
            ),
        ),
        Distributions(
            "dispatcher_function_run_seconds",
            "How long runs of a function took.",
            "function",
            lambda: {name: one.duration_ms for name, one in figures.functions.items()},
            per_unit=1000,
        ),
        Metric(
            "dispatcher_results",
            "gauge",
            "Results of function calls that are kept.",
            lambda: len(calls.results),
        ),
        Metric(
            "dispatcher_result_bytes",
            "gauge",
            "Bytes that results of function calls take in their log.",
            lambda: calls.results.size_bytes,
        ),
        Metric(
            "dispatcher_result_waiters",
            "gauge",
            "Callers that wait for the result of a function call.",
            lambda: len(calls.waiting),
        ),
        Rows(
            "endpoint",
            lambda: {lane.name: lane for lane in lanes()},
            (
                Column(
                    "dispatcher_call_lane_waiting",
                    "gauge",
                    "Calls that wait for their turn, of the applications with the most.",
                    lambda lane: lane.waiting,
                ),
                Column(
                    "dispatcher_call_lane_in_flight",
                    "gauge",
                    "Runs of an application under way.",
                    lambda lane: lane.in_flight,
                ),
                Column(
                    "dispatcher_call_lane_limit",
                    "gauge",
                    "Runs that an application may have under way now.",
                    lambda lane: math.inf if lane.is_pulled else lane.most,
                ),
                Column(
                    "dispatcher_call_lane_open",
                    "gauge",
                    "0 for an application that is left alone, because its runs failed in a row.",
                    lambda lane: int(lane.breaker.state is State.CLOSED),
                ),
            ),
        ),
    )
