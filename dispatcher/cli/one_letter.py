"""One dead letter on the screen: its request, its body, and every attempt."""

from __future__ import annotations

from typing import Final

from dispatcher.cli import bodies, output, tables
from dispatcher.cli.causes import cause
from dispatcher.cli.client import Json
from dispatcher.cli.tables import Column, Moment

_HISTORY_COLUMNS: Final = (
    Column("attempt"),
    Column("started"),
    Column("ms", is_extra=True),
    Column("error", is_cut=True),
)
SHOWN_BYTES: Final = bodies.SHOWN_BYTES
"""Of a body; `--body` prints all of it."""


def show(letter: Json, body: bytes) -> None:
    """Print a letter as `GET /v1/dead-letters/{id}` gives it, and the first `SHOWN_BYTES` of its
    body."""
    error = cause(letter["last_status"], letter["last_error"])
    output.print_record(
        {
            "id": letter["id"],
            "destination": letter["destination"],
            "request": request(letter),
            "accepted": Moment(letter["accepted_at"]),
            "died": Moment(letter["dead_at"]),
            "reason": letter["reason"],
            "last error": error,
            # Where it only says the same once more it is left out.
            **({} if letter["detail"] in ("", error) else {"detail": letter["detail"]}),
            "redriven before": letter["redrives"],
            **output.options(letter.get("options")),
            **_call_fields(letter),
        }
    )
    is_call = letter.get("call") is not None
    if not is_call:
        print("\nHeaders")
    for name, value in letter["headers"]:
        print(f"  {output.clean(name)}: {output.clean(value)}")
    print(f"\n{'Input' if is_call else 'Body'} ({output.size(letter['size_bytes'])})")
    rest = f"`dispatcher dead show {letter['id']} --body` prints all of it"
    bodies.print_text(bodies.as_text(body, letter["size_bytes"], rest))
    print("\nRuns" if is_call else "\nAttempts")
    tables.print_table(_HISTORY_COLUMNS, [_history_row(entry) for entry in letter["history"]])
    if letter["history"] and (start := letter["history"][-1].get("response_start")):
        print("\nStart of the last response")
        bodies.print_text(start)


def request(letter: Json) -> str:
    """Return what a letter asked for: method and target, or the function of a call."""
    if letter.get("kind") == "call":
        return f"call {letter['function']}"
    return f"{letter['method']} {letter['target']}"


def _call_fields(letter: Json) -> Json:
    call = letter.get("call")
    if not call:
        return {}
    return {
        "error type": call["error_type"] or None,
        "application": call["application"] or None,
        "version": call["version"] or None,
    }


def _history_row(entry: Json) -> tuple[object, ...]:
    return (
        entry["attempt"],
        Moment(entry["started_at"]),
        entry["duration_ms"],
        cause(entry["status"], entry["error"]),
    )
