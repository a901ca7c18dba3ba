"""From what happens to function calls to the lines of the log."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from dispatcher.core.instants import rfc3339
from dispatcher.functions.model import Call
from dispatcher.functions.shown import Entry, Step
from dispatcher.telemetry.events import Events


class CallLog:
    """Writes events for the function service (`functions.views.telling.Log`)."""

    __slots__ = ("_events", "is_debug")

    def __init__(self, events: Events) -> None:
        self.is_debug = events.is_debug
        self._events = events

    def happened(self, call_id: str, call: Call, entry: Entry) -> None:
        """Write one line."""
        events, endpoint, function = self._events, call.endpoint, call.function
        match entry.step:
            case Step.CREATED:
                events.call_created(id=call_id, endpoint=endpoint, function=function)
            case Step.RUN:
                self._ran(call_id, call, entry)
            case Step.SUSPENDED:
                events.call_suspended(
                    id=call_id,
                    endpoint=endpoint,
                    function=function,
                    waits_for=entry.count or 0,
                    until=_instant(entry.next_at_us),
                )
            case Step.RESUMED:
                events.call_resumed(
                    id=call_id, endpoint=endpoint, function=function, results=entry.count or 0
                )
            case Step.RESTARTED:
                events.call_restarted(id=call_id, endpoint=endpoint, function=function)
            case Step.TAIL_CALLED:
                events.call_tail_called(id=call_id, endpoint=endpoint, function=function)
            case Step.CANCEL_ASKED:
                events.call_cancel_asked(id=call_id, endpoint=endpoint, function=function)
            case Step.ENDED:
                events.call_ended(
                    id=call_id, endpoint=endpoint, function=function, state=entry.status or ""
                )

    def _ran(self, call_id: str, call: Call, entry: Entry) -> None:
        attempt, duration_ms = entry.attempt or 1, entry.duration_ms or 0
        if not entry.has_failed:
            self._events.call_ran(
                id=call_id,
                endpoint=call.endpoint,
                function=call.function,
                attempt=attempt,
                duration_ms=duration_ms,
            )
            return
        self._events.call_run_failed(
            id=call_id,
            endpoint=call.endpoint,
            function=call.function,
            attempt=attempt,
            status=entry.status or "",
            detail=entry.error,
            duration_ms=duration_ms,
            next_run_at=_instant(entry.next_at_us),
        )


class LostEvent(Protocol):
    """An event that tells what was lost where."""

    def __call__(self, *, path: str, id: str) -> None:
        """Write it."""


def told_lost(event: LostEvent, path: Path, call_id: str) -> None:
    """Tell that a log at `path` has lost something of a call."""
    event(path=str(path), id=call_id)


def _instant(at_us: int | None) -> str | None:
    return None if at_us is None else rfc3339(at_us)
