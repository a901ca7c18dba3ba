"""Who is told what became of a record, and how: one that fails hurts no other.

What is said where a log stores nothing more, by its last error:

                                  batch with the log             what waited for its turn
    LogFenced                     moved: it is another's now     moved
    LogUnknown, StreamCorrupt     no verdict: no answer          moved: it was never handed over
    a disk of this machine,       log_failed: may be stored,     log_failed
    damage, a mistake             and the process ends
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dispatcher.errors import LogCorrupt, LogFenced, LogUnknown, Refusal
from dispatcher.queue.refusals import LOG_FAILED, MOVED, NO_VERDICT
from dispatcher.telemetry.supervisor import Died


class Waiter(Protocol):
    """Who is told what became of a record."""

    def stored(self, position: int) -> None:
        """The record is durable at `position`."""

    def refused(self, refusal: Refusal) -> None:
        """The record is not stored (or, after a failed sync, perhaps not)."""


def of_batch(error: Exception | None) -> Refusal:
    """What those are told whose batch was with the log when it ended with this error."""
    if isinstance(error, LogFenced):
        return MOVED
    if isinstance(error, LogUnknown | LogCorrupt) and not error.ends_process:
        return NO_VERDICT
    return LOG_FAILED


def of_waiting(error: Exception | None) -> Refusal:
    """The same of those whose records were not handed to the log."""
    is_gone = isinstance(error, LogFenced | LogUnknown | LogCorrupt) and not error.ends_process
    return MOVED if is_gone else LOG_FAILED


def tell_stored(waiters: list[Waiter | None], positions: Sequence[int], died: Died) -> None:
    """Tell each waiter the position of its record; `died` gets what a waiter raises."""
    for waiter, position in zip(waiters, positions, strict=False):
        if waiter is not None:
            try:
                waiter.stored(position)
            except Exception as error:
                # The others of its batch are durable too, and have to hear of it.
                died("stored", error)


def tell_refused(waiters: list[Waiter | None], refusal: Refusal, died: Died) -> None:
    """Tell all waiters that their records are not stored; `died` gets what a waiter raises."""
    for waiter in waiters:
        if waiter is not None:
            try:
                waiter.refused(refusal)
            except Exception as error:
                died("refused", error)
