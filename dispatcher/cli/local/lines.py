"""What happens to calls, a line each, where there is no terminal."""

from __future__ import annotations

from dispatcher.cli import output
from dispatcher.cli.client import Json
from dispatcher.cli.local.calls import Call
from dispatcher.cli.local.tree import span
from dispatcher.cli.one_call import what

_WIDTH = len("tail_called")


def call_line(kind: str, fields: Json, call: Call) -> str:
    """Return when, what, of which call, how. `call` is as it stands after that. Of an error that
    has several lines the first is shown: the application has printed them all."""
    time = (output.instant(fields["time"]) or "").partition("T")[2]
    parts = (time, kind.ljust(_WIDTH), fields["id"], call.name, _how(kind, fields, call))
    return "  ".join(map(output.clean, parts)).rstrip()


def _how(kind: str, fields: Json, call: Call) -> str:
    if kind != "ended":
        return what({**fields, "step": kind, "error": _first_line(fields["error"])})
    why = f": {_first_line(call.error)}" if call.error and call.state != "succeeded" else ""
    return f"{call.state} after {span(call.duration_s(0.0))}{why}"


def _first_line(error: str | None) -> str | None:
    first, end, _ = (error or "").partition("\n")
    return f"{first} …" if end else error
