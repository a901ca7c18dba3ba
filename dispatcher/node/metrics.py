"""The metrics: what the parts count, under the names that operators see."""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.delivery.pool import Pool
from dispatcher.ingress.listener import Listener
from dispatcher.queue.queue import Queue
from dispatcher.telemetry.metrics import Metric
from dispatcher.txlog.files import FileLog


def metrics(
    queue: Queue, pool: Pool, listener: Listener, log: FileLog, dead_log: FileLog
) -> tuple[Metric, ...]:
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
    )
