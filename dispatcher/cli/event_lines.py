"""Events as lines for people: when, what, of which message or call, where, how."""

from __future__ import annotations

from typing import Final

from dispatcher.cli import output
from dispatcher.cli.causes import cause
from dispatcher.cli.client import Json
from dispatcher.cli.one_call import what
from dispatcher.cli.sse import Event

CALL: Final = "call."
"""What the kinds of events of calls begin with."""
STYLES: Final = {
    "dead": "red",
    "delivered": "green",
    "attempted": "yellow",
    "call.ended": "green",
    "call.restarted": "yellow",
    "call.cancel_asked": "yellow",
}
_WIDTH: Final = len("attempted")
_CALL_WIDTH: Final = len("call.suspended")
_NOTHING: Final = dict.fromkeys(
    ("attempt", "duration_ms", "status", "error", "next_at", "count"), None
)
"""Of an entry of a timeline, which an event of a call is too."""


def line(event: Event, *, is_short: bool = False) -> str:
    """Return an event for people. `is_short` leaves out the day: who watches a terminal knows
    it."""
    fields = event.fields
    time = output.instant(fields.get("time"))
    is_call = event.kind.startswith(CALL)
    parts = (
        time.partition("T")[2] if is_short and time else time,
        event.kind.ljust(_CALL_WIDTH if is_call else _WIDTH),
        fields.get("id"),
        *_where(fields, is_call),
        _how(event.kind, fields),
        *([fields["label"]] if fields.get("label") else []),
    )
    return "  ".join(map(output.clean, parts)).rstrip()


def _where(fields: Json, is_call: bool) -> tuple[object, ...]:
    if not is_call:
        return (fields.get("destination"),)
    return fields.get("function"), fields.get("endpoint") or fields.get("destination")


def _how(kind: str, fields: Json) -> str:
    if kind.startswith(CALL):
        return what({**_NOTHING, **fields, "step": kind.removeprefix(CALL)})
    match kind:
        case "attempted" | "delivered":
            return _attempt(fields)
        case "dead":
            tried = output.plural(fields.get("attempts", 0), "attempt")
            return f"{fields.get('reason')} after {tried}"
        case _:
            return ""


def _attempt(fields: Json) -> str:
    status, error = fields.get("status"), fields.get("error")
    is_success = error is None and status is not None and 200 <= status < 300
    came = status if is_success else cause(status, error)
    again = fields.get("next_attempt_at")
    when = f", next at {output.instant(again)}" if again else ""
    return f"attempt {fields.get('attempt')}: {came} in {fields.get('duration_ms')} ms{when}"
