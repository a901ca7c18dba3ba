"""The metrics: what the parts count, under the names that operators see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from platform import python_version

from dispatcher import __version__
from dispatcher.delivery.pool import Pool
from dispatcher.functions.lanes.lane import Lane as CallLane
from dispatcher.functions.results.store import Results
from dispatcher.functions.views.overview import Overview
from dispatcher.ingress.listener import Listener
from dispatcher.node.call_metrics import call_metrics
from dispatcher.node.certificates import Certificates
from dispatcher.node.counted import Count, Observed
from dispatcher.node.disks import Disks
from dispatcher.node.lane_metrics import ToldLanes, find_told, lane_metrics
from dispatcher.node.lease_metrics import LeaseFigures, lease_metrics
from dispatcher.node.log_names import DEAD_LETTER, RESULTS, TRANSACTION
from dispatcher.node.whole import Whole
from dispatcher.telemetry.metrics import (
    AnyMetric,
    Distribution,
    Distributions,
    Metric,
    pieces,
    process_text,
)


class Metrics:
    """What `/metrics` answers, made without holding up the loop however many lanes there are."""

    def __init__(
        self,
        whole: Whole,
        pool: Pool,
        listener: Listener,
        *,
        operators: Callable[[], Mapping[str, int]],
        certificates: Certificates | None = None,
        disks: Disks,
        functions: Overview | None = None,
        restarts: Callable[[], int] | None = None,
        leases: LeaseFigures | None = None,
    ) -> None:
        """`restarts` is how many processes of the node were started again; None: it has no
        others."""
        self._whole = whole
        self._pace = whole.pace.another()
        self._told = ToldLanes()
        self._functions = functions
        self._call_lanes: Sequence[CallLane] = ()
        self._metrics = metrics(
            whole,
            pool,
            listener,
            told=lambda: self._told,
            disks=disks,
            operators=operators,
            results=None if functions is None else functions.results,
        )
        if certificates is not None:
            self._metrics += _of_tls(certificates)
        if restarts is not None:
            self._metrics += (_of_restarts(restarts),)
        if leases is not None:
            self._metrics += lease_metrics(leases)
        if functions is not None:
            self._metrics += call_metrics(functions, lambda: self._call_lanes)

    async def text_of_process(self) -> str:
        """As `text`, and with those of the process itself: memory, processor time."""
        return await self.text() + await asyncio.to_thread(process_text)

    async def text(self) -> str:
        """Read every metric once, in the text format 0.0.4."""
        self._told = await find_told(self._whole.destinations, self._whole.clock, self._pace)
        if self._functions is not None:
            self._call_lanes = await self._functions.largest()
        written: list[str] = []
        for piece in pieces(self._metrics):
            written.append(piece)
            if self._pace.is_over:
                await self._pace.rest()
        return "".join(written)


def _of_restarts(restarts: Callable[[], int]) -> AnyMetric:
    return Metric(
        "dispatcher_process_restarts_total",
        "counter",
        "Processes of the server that were started again, as they had died or hung.",
        restarts,
    )


def _of_tls(certificates: Certificates) -> tuple[AnyMetric, ...]:
    return (
        Metric(
            "dispatcher_handshakes_failed_total",
            "counter",
            "TLS handshakes with callers and operators that failed.",
            certificates.failed,
            label="reason",
        ),
        Metric(
            "dispatcher_certificate_expires_timestamp_seconds",
            "gauge",
            "When the certificate of a listener expires, since the epoch.",
            certificates.expire_at_s,
            label="listener",
        ),
    )


def metrics(
    whole: Whole,
    pool: Pool,
    listener: Listener,
    *,
    told: Callable[[], ToldLanes],
    operators: Callable[[], Mapping[str, int]],
    disks: Disks,
    results: Results | None = None,
) -> tuple[AnyMetric, ...]:
    """Say what every metric means and where it is read. Totals count from the process's start.
    `told` gives what was found of destinations, `operators` how often operators did what; `results`
    of function calls have a log too."""

    workers, total, counted = whole.traffic.workers, whole.total, whole.counted

    def of_logs(
        transaction: float, dead_letter: float, of_results: Callable[[Results], float]
    ) -> Mapping[str, float]:
        two = {TRANSACTION: transaction, DEAD_LETTER: dead_letter}
        return two if results is None else {**two, RESULTS: of_results(results)}

    def states() -> Mapping[str, int]:
        return {**whole.count_states(), "dead": whole.dead}

    return (
        Metric(
            "dispatcher_build_info",
            "gauge",
            "Always 1: the version that runs, and Python's.",
            lambda: {(__version__, python_version()): 1},
            label=("version", "python"),
        ),
        Metric(
            "dispatcher_workers",
            "gauge",
            "Attempts that may be under way at once: WORKER and WORKER_SLOW as they are in force.",
            lambda: {"usual": workers.most, "slow": workers.most_slow},
            label="kind",
        ),
        Metric(
            "dispatcher_workers_busy",
            "gauge",
            "Attempts under way, by what they take up.",
            lambda: {"usual": workers.busy, "slow": workers.slow},
            label="kind",
        ),
        Metric(
            "dispatcher_messages_accepted_total",
            "counter",
            "Messages that were made durable and answered 202.",
            lambda: counted(Count.ACCEPTED),
        ),
        Metric(
            "dispatcher_messages_delivered_total",
            "counter",
            "Messages that a destination took.",
            lambda: counted(Count.DELIVERED),
        ),
        Metric(
            "dispatcher_messages_dead_total",
            "counter",
            "Messages that were given up and moved to the dead-letter log.",
            lambda: counted(Count.DEAD),
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
            whole.attempts,
            label="outcome",
        ),
        Metric(
            "dispatcher_messages",
            "gauge",
            'Messages now, by state. Sum over state!="dead" for those that wait or are under way:'
            " dead ones are dead letters.",
            states,
            label="state",
        ),
        Metric(
            "dispatcher_disk_free_bytes",
            "gauge",
            "Bytes that are free on the disk of a log.",
            lambda: {name: space.free_bytes for name, space in disks.space.items()},
            label="log",
        ),
        Metric(
            "dispatcher_disk_total_bytes",
            "gauge",
            "Bytes of the disk of a log.",
            lambda: {name: space.total_bytes for name, space in disks.space.items()},
            label="log",
        ),
        Metric(
            "dispatcher_log_full",
            "gauge",
            "1 for a log that finds no space on its disk.",
            lambda: of_logs(
                total(lambda part: part.committer.full) > 0,
                total(lambda part: part.dead_letters.full) > 0,
                lambda results: int(results.full),
            ),
            label="log",
        ),
        Metric(
            "dispatcher_log_waiting_seconds",
            "gauge",
            "How long the batch under way has been with a log; 0 when none is.",
            lambda: of_logs(
                whole.most(lambda part: part.committer.waiting_s()),
                whole.most(lambda part: part.dead_letters.committer.waiting_s()),
                lambda results: results.waiting_s(),
            ),
            label="log",
        ),
        Metric(
            "dispatcher_log_stalls_total",
            "counter",
            "How often the disk of a log did not answer for more than five seconds.",
            lambda: of_logs(
                counted(Count.STALLS),
                counted(Count.DEAD_STALLS),
                lambda results: results.stalls_total,
            ),
            label="log",
        ),
        Metric(
            "dispatcher_oldest_message_age_seconds",
            "gauge",
            "How long the oldest pending message has been waiting, about.",
            lambda: 0 if (oldest := whole.oldest) is None else oldest.age_us() / 1_000_000,
        ),
        Metric(
            "dispatcher_log_bytes",
            "gauge",
            "Bytes that a log takes on disk.",
            lambda: of_logs(
                total(lambda part: part.log.size_bytes),
                total(lambda part: part.dead_log.size_bytes),
                lambda results: results.log_bytes,
            ),
            label="log",
        ),
        Metric(
            "dispatcher_log_live_bytes",
            "gauge",
            "Bytes of the transaction log that pending messages and calls need.",
            lambda: whole.live_bytes,
        ),
        Metric(
            "dispatcher_log_batches_total",
            "counter",
            "Batches written to the transaction log, each with one sync.",
            lambda: counted(Count.BATCHES),
        ),
        Metric(
            "dispatcher_log_records_total",
            "counter",
            "Records written to the transaction log.",
            lambda: counted(Count.RECORDS),
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
            "Destinations with something to do now.",
            lambda: len(whole.destinations),
        ),
        Metric(
            "dispatcher_dead_letters_dropped_total",
            "counter",
            "Dead letters that were dropped for their age or their number of bytes.",
            lambda: counted(Count.LETTERS_DROPPED),
        ),
        Metric(
            "dispatcher_dead_letters_too_large_total",
            "counter",
            "Dead letters that were not stored, as no record of the log can hold them.",
            lambda: counted(Count.LETTERS_TOO_LARGE),
        ),
        Metric(
            "dispatcher_dead_letters_redriven_total",
            "counter",
            "Dead letters that were made messages again.",
            lambda: counted(Count.LETTERS_REDRIVEN),
        ),
        Metric(
            "dispatcher_dead_letter_bytes",
            "gauge",
            "Bytes of the dead-letter log that dead letters need.",
            lambda: total(lambda part: part.dead_letters.letters.size_bytes),
        ),
        Metric(
            "dispatcher_operator_actions_total",
            "counter",
            "What operators did through the API, and how often a key was refused.",
            operators,
            label="action",
        ),
        *lane_metrics(told, whole.clock),
        Distribution(
            "dispatcher_delivery_seconds",
            "Time from the acceptance of a message to its delivery.",
            lambda: whole.histogram(Observed.DELIVERY_US),
            per_unit=1_000_000,
        ),
        Distribution(
            "dispatcher_accept_seconds",
            "Time from a request to the durable record of its message; of a batch the first and the"
            " last one are timed, and stand for half of it each.",
            lambda: whole.histogram(Observed.ACCEPT_US),
            per_unit=1_000_000,
        ),
        Distributions(
            "dispatcher_attempt_seconds",
            "Time that attempts took, delivered or failed; of a destination's successes after the"
            " first twenty one in eight is timed, and stands for eight.",
            "outcome",
            lambda: {
                "delivered": whole.histogram(Observed.SUCCESS_US),
                "failed": whole.histogram(Observed.FAILURE_US),
            },
            per_unit=1_000_000,
        ),
        Distribution(
            "dispatcher_log_sync_seconds",
            "Time that a batch of the transaction log took to be written and synced.",
            lambda: whole.histogram(Observed.SYNC_US),
            per_unit=1_000_000,
        ),
        Distribution(
            "dispatcher_log_batch_records",
            "Records of a batch of the transaction log.",
            lambda: whole.histogram(Observed.BATCH_RECORDS),
        ),
    )
