"""From what happens to function calls to the lines of the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dispatcher.core.instants import rfc3339
from dispatcher.functions.ids import id_beside
from dispatcher.functions.model import Call
from dispatcher.functions.shown import Entry, Step
from dispatcher.functions.views.telling import is_notable
from dispatcher.telemetry.events import Events

if TYPE_CHECKING:  # OpenTelemetry is imported only where it is asked for
    from dispatcher.telemetry.call_spans import CallSpans


class CallLog:
    """Writes events for the function service (`functions.views.telling.Log`). With `spans`, what
    goes well is wanted at every level of the log."""

    __slots__ = ("_events", "_spans", "is_debug")

    def __init__(self, events: Events, spans: CallSpans | None = None) -> None:
        self.is_debug = events.is_debug or spans is not None
        self._events = events
        self._spans = spans

    def happened(self, call_id: str, call: Call, entry: Entry) -> None:
        """Write one line, and what there is of spans."""
        if self._spans is not None:
            _trace(self._spans, call_id, call, entry)
        if self._events.is_debug or is_notable(entry):
            self._write(call_id, call, entry)

    def _write(self, call_id: str, call: Call, entry: Entry) -> None:
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


def _trace(spans: CallSpans, call_id: str, call: Call, entry: Entry) -> None:
    root_id = id_beside(call_id, call.root)
    traced = spans.call(call_id, root_id, call.function, call.endpoint, call.trace)
    match entry.step:
        case Step.CREATED:
            spans.created(traced, entry.at_us)
        case Step.RUN:
            spans.ran(
                traced,
                attempt=entry.attempt or 1,
                started_us=entry.at_us,
                duration_ms=entry.duration_ms or 0,
                status=entry.status or "",
                http_status=entry.http_status,
                has_failed=entry.has_failed,
            )


class LostEvent(Protocol):
    """An event that tells what was lost where."""

    def __call__(self, *, path: str, id: str) -> None:
        """Write it."""


def told_lost(event: LostEvent, path: Path | str, call_id: str) -> None:
    """Tell that a log at `path` has lost something of a call."""
    event(path=str(path), id=call_id)


def _instant(at_us: int | None) -> str | None:
    return None if at_us is None else rfc3339(at_us)
