"""The metrics: what the parts count, under the names that operators see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import nlargest

from dispatcher.delivery.pool import Pool
from dispatcher.ingress.listener import Listener
from dispatcher.queue.lanes import Lane
from dispatcher.queue.queue import Queue
from dispatcher.telemetry.metrics import AnyMetric, Column, Distribution, Metric, Rows
from dispatcher.txlog.files import FileLog

MOST_LANES = 100
"""Destinations with metrics of their own: each is a time series for whoever scrapes."""


def metrics(
    queue: Queue, pool: Pool, listener: Listener, log: FileLog, dead_log: FileLog
) -> tuple[AnyMetric, ...]:
    """Say what every metric means and where it is read. Totals count from the process's start."""

    def states() -> Mapping[str, int]:
        counts = queue.count_states()
        return {**counts, "dead": len(queue.dead_letters)}

    return (
        Metric(
            "dispatcher_messages_accepted_total",
            "counter",
            "Messages that were made durable and answered 202.",
            lambda: queue.accepted_total,
        ),
        Metric(
            "dispatcher_messages_delivered_total",
            "counter",
            "Messages that a destination took.",
            lambda: queue.delivered_total,
        ),
        Metric(
            "dispatcher_messages_dead_total",
            "counter",
            "Messages that were given up and moved to the dead-letter log.",
            lambda: queue.dead_total,
        ),
        Metric(
            "dispatcher_requests_refused_total",
            "counter",
            "Requests that were not accepted, by the slug of the error.",
            lambda: listener.refused,
            label="reason",
        ),
        Metric(
            "dispatcher_attempts_total",
            "counter",
            "Finished delivery attempts, by what they came to.",
            lambda: dict(queue.attempts),
            label="outcome",
        ),
        Metric(
            "dispatcher_messages",
            "gauge",
            "Messages now, by state.",
            states,
            label="state",
        ),
        Metric(
            "dispatcher_log_full",
            "gauge",
            "1 for a log that finds no space on its disk.",
            lambda: {
                "transaction": int(queue.committer.full),
                "dead_letter": int(queue.dead_letters.full),
            },
            label="log",
        ),
        Metric(
            "dispatcher_oldest_message_age_seconds",
            "gauge",
            "How long the oldest pending message has been waiting, about.",
            lambda: queue.oldest_age_us() / 1_000_000,
        ),
        Metric(
            "dispatcher_log_bytes",
            "gauge",
            "Bytes that a log takes on disk.",
            lambda: {"transaction": log.size_bytes, "dead_letter": dead_log.size_bytes},
            label="log",
        ),
        Metric(
            "dispatcher_log_live_bytes",
            "gauge",
            "Bytes of the transaction log that pending messages need.",
            lambda: queue.pending.index.live_bytes,
        ),
        Metric(
            "dispatcher_log_batches_total",
            "counter",
            "Batches written to the transaction log, each with one sync.",
            lambda: queue.committer.batches,
        ),
        Metric(
            "dispatcher_log_records_total",
            "counter",
            "Records written to the transaction log.",
            lambda: queue.committer.records,
        ),
        Metric(
            "dispatcher_connections",
            "gauge",
            "Open connections, of callers and to destinations.",
            lambda: {"caller": listener.open_connections, "destination": pool.open_connections},
            label="side",
        ),
        Metric(
            "dispatcher_destinations",
            "gauge",
            "Destinations that have a lane now.",
            lambda: queue.count_lanes(),
        ),
        Metric(
            "dispatcher_dead_letters_dropped_total",
            "counter",
            "Dead letters that were dropped for their age or their number of bytes.",
            lambda: queue.retention.dropped_total,
        ),
        Metric(
            "dispatcher_dead_letters_redriven_total",
            "counter",
            "Dead letters that were made messages again.",
            lambda: queue.redriver.redriven_total,
        ),
        Metric(
            "dispatcher_dead_letter_bytes",
            "gauge",
            "Bytes of the dead-letter log that dead letters need.",
            lambda: queue.dead_letters.letters.size_bytes,
        ),
        Rows(
            "destination",
            lambda: {str(lane.destination): lane for lane in largest(queue.lanes)},
            (
                Column(
                    "dispatcher_lane_ready",
                    "gauge",
                    "Messages that wait for their turn, of the destinations with the most.",
                    lambda lane: lane.ready,
                ),
                Column(
                    "dispatcher_lane_limit",
                    "gauge",
                    "Attempts that a destination may have in flight now.",
                    lambda lane: lane.limit.value,
                ),
                Column(
                    "dispatcher_lane_paused",
                    "gauge",
                    "1 for a destination that is left alone: paused by an operator, its breaker or "
                    "itself.",
                    lambda lane: int(lane.held or lane.wakes_at() > queue.now_us()),
                ),
            ),
        ),
        Distribution(
            "dispatcher_delivery_seconds",
            "Time from the acceptance of a message to its delivery.",
            queue.delivery_us,
            per_unit=1_000_000,
        ),
        Distribution(
            "dispatcher_log_sync_seconds",
            "Time that a batch of the transaction log took to be written and synced.",
            log.sync_us,
            per_unit=1_000_000,
        ),
        Distribution(
            "dispatcher_log_batch_records",
            "Records of a batch of the transaction log.",
            queue.committer.batch_records,
        ),
    )


def largest(lanes: Iterable[Lane]) -> list[Lane]:
    """The destinations that are told one by one: a bounded number, those with most messages."""
    return nlargest(MOST_LANES, lanes, key=lambda lane: lane.ready + lane.scheduled)
