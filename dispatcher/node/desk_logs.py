"""The logs that a desk has beside those of partition 0: results of calls, and the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dispatcher.node.log_names import DEAD_LETTER, RESULTS, TRANSACTION
from dispatcher.node.places import audit_of, has_log, results_of
from dispatcher.settings import Settings
from dispatcher.txlog import TransactionLog
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.place import check_free
from dispatcher.txlog.files.segment import Sizes

_AUDIT_SEGMENTS: Final = 8
"""Of so many parts the audit's log consists at least: the oldest goes as a whole."""


@dataclass(frozen=True, slots=True)
class DeskLogs:
    """How they are made, and whether they are there: one that is not is made when something comes.

    Each `make_…` names its log anew, not open yet. `audit_max_bytes` is what the audit's may take,
    and one part of it. `results_place` is where results lie, as it is told. `disks` are
    directories by the name of the log, of whose disks it is told how much is free. `check_free`
    raises `LogLocked` where another process has one of them."""

    make_results: Callable[[], TransactionLog]
    has_results: bool
    results_place: str
    make_audit: Callable[[], TransactionLog]
    has_audit: bool
    audit_max_bytes: int
    disks: Mapping[str, Path]
    check_free: Callable[[], None]


def in_files(settings: Settings) -> DeskLogs:
    """Those of a node whose logs are files: beside the transaction log."""
    results, audit = results_of(settings.transaction_log), audit_of(settings.transaction_log)
    most = settings.audit_max_bytes
    sizes = Sizes(largest=max(Sizes().smallest, most // _AUDIT_SEGMENTS))
    return DeskLogs(
        make_results=lambda: FileLog(results),
        has_results=has_log(results),
        results_place=str(results),
        make_audit=lambda: FileLog(audit, sizes=sizes),
        has_audit=has_log(audit),
        audit_max_bytes=most - sizes.largest,
        disks={
            TRANSACTION: settings.transaction_log,
            DEAD_LETTER: settings.dead_letter,
            RESULTS: results,
        },
        check_free=lambda: _check_free(results, audit),
    )


def _check_free(*places: Path) -> None:
    for place in places:
        check_free(place, RealDisk())
