"""The logs of a cluster's partitions, which are streams of NATS JetStream:

    dispatcher-<n>         the transaction log of partition n
    dispatcher-<n>-dead    its dead letters
    dispatcher-results     results of function calls, which belong to partition 0
    dispatcher-audit       what operators did; to partition 0 too

Copies of what they hold lie in TRANSACTION_LOG, in files without a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dispatcher.cluster.holder import Ends
from dispatcher.node.desk_logs import DeskLogs
from dispatcher.node.log_names import AUDIT, DEAD_LETTER, RESULTS, TRANSACTION
from dispatcher.queue.ports import LogName
from dispatcher.txlog.nats.link import Link
from dispatcher.txlog.nats.log import NatsLog

STREAMS: Final = "dispatcher-"
"""How all of them begin."""
RESULTS_STREAM: Final = f"{STREAMS}results"
AUDIT_STREAM: Final = f"{STREAMS}audit"


@dataclass(frozen=True, slots=True)
class PartitionLogs:
    """The logs of one partition, not open yet, and what they are called."""

    log: NatsLog
    dead_log: NatsLog
    names: Mapping[LogName, str]


class Streams:
    """Makes the logs of a cluster. `ends` are how far they are known to have reached."""

    def __init__(
        self, link: Link, mirror: Path, *, quota_bytes: int, replicas: int, audit_max_bytes: int
    ) -> None:
        """`mirror` is a directory on a disk of this machine. `quota_bytes` is for each log,
        `audit_max_bytes` for what is kept of the audit."""
        self._link = link
        self._mirror = mirror
        self._quota_bytes = quota_bytes
        self._replicas = replicas
        self._audit_max_bytes = audit_max_bytes

    def of(self, number: int, ends: Ends) -> PartitionLogs:
        """Those of a partition."""
        name, dead_name = f"{STREAMS}{number}", f"{STREAMS}{number}-dead"
        return PartitionLogs(
            self._make(name, ends, TRANSACTION),
            self._make(dead_name, ends, DEAD_LETTER),
            {LogName.TRANSACTION: _told(name), LogName.DEAD_LETTER: _told(dead_name)},
        )

    def desk(self, ends: Ends) -> DeskLogs:
        """Those that a desk has beside. Both are opened with it: nobody else knows what is in
        them, and opening them keeps the desk before this one out."""
        return DeskLogs(
            make_results=lambda: self._make(RESULTS_STREAM, ends, RESULTS),
            has_results=True,
            results_place=_told(RESULTS_STREAM),
            make_audit=lambda: self._make(AUDIT_STREAM, ends, AUDIT),
            has_audit=True,
            audit_max_bytes=self._audit_max_bytes,
            disks={TRANSACTION: self._mirror},
            check_free=_nobody_else,
        )

    def _make(self, stream: str, ends: Ends, log: str) -> NatsLog:
        return NatsLog(
            self._link,
            stream,
            self._mirror,
            replicas=self._replicas,
            quota_bytes=self._quota_bytes,
            at_least=ends.get(log, 0),
        )


def partition_of(stream: str) -> int:
    """Return the partition whose log a stream is; 0 for those that belong to partition 0."""
    number = stream.removeprefix(STREAMS).partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _told(stream: str) -> str:
    return f"stream {stream}"


def _nobody_else() -> None:
    """A fence keeps others out, and a lock on this machine would say nothing."""
