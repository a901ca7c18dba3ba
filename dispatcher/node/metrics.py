"""The metrics: what the parts count, under the names that operators see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from dispatcher import __version__
from dispatcher.delivery.pool import Pool
from dispatcher.functions.lanes.lane import Lane as CallLane
from dispatcher.functions.results.store import Results
from dispatcher.functions.views.overview import Overview
from dispatcher.ingress.listener import Listener
from dispatcher.node.call_metrics import call_metrics
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.selecting import by_messages, select
from dispatcher.queue.lanes.gates import opens_at
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.queue.partition import Partition
from dispatcher.telemetry.metrics import (
    AnyMetric,
    Column,
    Distribution,
    Metric,
    Rows,
    pieces,
)
from dispatcher.txlog.files import FileLog

MOST_LANES = 100
"""Destinations with metrics of their own: each is a time series for whoever scrapes."""
SLICE_SECONDS: Final = 0.0005


class Metrics:
    """What `/metrics` answers, made without holding up the loop however many lanes there are."""

    def __init__(
        self,
        queue: Partition,
        pool: Pool,
        listener: Listener,
        log: FileLog,
        dead_log: FileLog,
        *,
        operators: Callable[[], Mapping[str, int]],
        functions: Overview | None = None,
        slice_s: float = SLICE_SECONDS,
    ) -> None:
        """It rests after each `slice_s` seconds of work."""
        self._queue = queue
        self._slice_s = slice_s
        self._pace = Pace()
        self._largest: list[Lane] = []
        self._functions = functions
        self._call_lanes: Sequence[CallLane] = ()
        self._metrics = metrics(
            queue,
            pool,
            listener,
            log,
            dead_log,
            largest=lambda: self._largest,
            operators=operators,
            results=None if functions is None else functions.results,
        )
        if functions is not None:
            self._metrics += call_metrics(functions, lambda: self._call_lanes)

    async def text(self) -> str:
        """Read every metric once, in the text format 0.0.4."""
        self._largest = await self._find_largest()
        if self._functions is not None:
            self._call_lanes = await self._functions.largest()
        written: list[str] = []
        began = time.perf_counter()
        for piece in pieces(self._metrics):
            written.append(piece)
            if time.perf_counter() - began >= self._slice_s:
                await self._pace.rest()
                began = time.perf_counter()
        return "".join(written)

    async def _find_largest(self) -> list[Lane]:
        """The destinations that are told one by one: a bounded number, those with most messages."""
        found = await select(self._queue.lanes, rank=by_messages, limit=MOST_LANES, pace=self._pace)
        return found.first


def metrics(
    queue: Partition,
    pool: Pool,
    listener: Listener,
    log: FileLog,
    dead_log: FileLog,
    *,
    largest: Callable[[], Iterable[Lane]],
    operators: Callable[[], Mapping[str, int]],
    results: Results | None = None,
) -> tuple[AnyMetric, ...]:
    """Say what every metric means and where it is read. Totals count from the process's start.
    `largest` gives the destinations that are told one by one, `operators` how often operators did
    what; `results` of function calls have a log too."""

    def logs(
        transaction: float, dead_letter: float, of_results: Callable[[Results], float]
    ) -> Mapping[str, float]:
        two = {"transaction": transaction, "dead_letter": dead_letter}
        return two if results is None else {**two, "results": of_results(results)}

    def states() -> Mapping[str, int]:
        counts = queue.figures.count_states()
        return {**counts, "dead": len(queue.dead_letters)}

    return (
        Metric(
            "dispatcher_build_info",
            "gauge",
            "Always 1: the version that runs.",
            lambda: {__version__: 1},
            label="version",
        ),
        Metric(
            "dispatcher_messages_accepted_total",
            "counter",
            "Messages that were made durable and answered 202.",
            lambda: queue.figures.accepted_total,
        ),
        Metric(
            "dispatcher_messages_delivered_total",
            "counter",
            "Messages that a destination took.",
            lambda: queue.figures.delivered_total,
        ),
        Metric(
            "dispatcher_messages_dead_total",
            "counter",
            "Messages that were given up and moved to the dead-letter log.",
            lambda: queue.figures.dead_total,
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
            lambda: dict(queue.figures.attempts),
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
            lambda: logs(
                int(queue.committer.full),
                int(queue.dead_letters.full),
                lambda results: int(results.full),
            ),
            label="log",
        ),
        Metric(
            "dispatcher_log_waiting_seconds",
            "gauge",
            "How long the batch under way has been with a log; 0 when none is.",
            lambda: logs(
                queue.committer.waiting_s(),
                queue.dead_letters.committer.waiting_s(),
                lambda results: results.waiting_s(),
            ),
            label="log",
        ),
        Metric(
            "dispatcher_log_stalls_total",
            "counter",
            "How often the disk of a log did not answer for more than five seconds.",
            lambda: logs(
                queue.stalls.stalls,
                queue.dead_stalls.stalls,
                lambda results: results.stalls_total,
            ),
            label="log",
        ),
        Metric(
            "dispatcher_oldest_message_age_seconds",
            "gauge",
            "How long the oldest pending message has been waiting, about.",
            lambda: queue.oldest.age_us() / 1_000_000,
        ),
        Metric(
            "dispatcher_log_bytes",
            "gauge",
            "Bytes that a log takes on disk.",
            lambda: logs(log.size_bytes, dead_log.size_bytes, lambda results: results.log_bytes),
            label="log",
        ),
        Metric(
            "dispatcher_log_live_bytes",
            "gauge",
            "Bytes of the transaction log that pending messages and calls need.",
            lambda: queue.pending.live_bytes,
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
            lambda: len(queue.lanes),
        ),
        Metric(
            "dispatcher_dead_letters_dropped_total",
            "counter",
            "Dead letters that were dropped for their age or their number of bytes.",
            lambda: queue.retention.dropped_total,
        ),
        Metric(
            "dispatcher_dead_letters_too_large_total",
            "counter",
            "Dead letters that were not stored, as no record of the log can hold them.",
            lambda: queue.figures.letters_too_large_total,
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
        Metric(
            "dispatcher_operator_actions_total",
            "counter",
            "What operators did through the API, and how often a key was refused.",
            operators,
            label="action",
        ),
        Rows(
            "destination",
            lambda: {str(lane.destination): lane for lane in largest()},
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
                    lambda lane: lane.peer.limit.value,
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
                    lambda lane: int(opens_at(lane.peer, queue.clock.now_us()) > 0),
                ),
            ),
        ),
        Distribution(
            "dispatcher_delivery_seconds",
            "Time from the acceptance of a message to its delivery.",
            queue.figures.delivery_us,
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
