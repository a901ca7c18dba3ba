"""One dead letter on the screen: its request, its body, and every attempt."""

from __future__ import annotations

import base64
from typing import Final

from dispatcher.cli import output, tables
from dispatcher.cli.client import Json
from dispatcher.cli.tables import Column

_HISTORY_COLUMNS: Final = tuple(map(Column, ("attempt", "started", "ms", "status", "error")))
_SHOWN_CHARACTERS: Final = 2000


def show(letter: Json) -> None:
    """Print a letter as `GET /v1/dead-letters/{id}` gives it."""
    output.print_record(
        {
            "id": letter["id"],
            "destination": letter["destination"],
            "request": request(letter),
            "accepted": output.instant(letter["accepted_at"]),
            "died": output.instant(letter["dead_at"]),
            "reason": letter["reason"],
            "detail": letter["detail"],
            "redriven before": letter["redrives"],
            **_call_fields(letter),
        }
    )
    is_call = letter.get("call") is not None
    if not is_call:
        print("\nHeaders")
    for name, value in letter["headers"]:
        print(f"  {output.clean(name)}: {output.clean(value)}")
    print(f"\n{'Input' if is_call else 'Body'} ({output.size(letter['size_bytes'])})")
    _print_text(_body_text(base64.b64decode(letter["body"]), letter["id"]))
    print("\nRuns" if is_call else "\nAttempts")
    tables.print_table(_HISTORY_COLUMNS, [_history_row(entry) for entry in letter["history"]])
    if letter["history"] and (start := letter["history"][-1].get("response_start")):
        print("\nStart of the last response")
        _print_text(start)


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
        "error": letter["last_error"],
        "error type": call["error_type"] or None,
        "application": call["application"] or None,
        "version": call["version"] or None,
    }


def _history_row(entry: Json) -> tuple[object, ...]:
    return (
        entry["attempt"],
        output.instant(entry["started_at"]),
        entry["duration_ms"],
        entry["status"],
        entry["error"],
    )


def _body_text(body: bytes, message_id: str) -> str:
    whole = f"`dispatcher dead show {message_id} --body` prints all of it"
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return f"not text; {whole}"
    if len(text) > _SHOWN_CHARACTERS:
        return f"{text[:_SHOWN_CHARACTERS]}\n… {whole}"
    return text


def _print_text(text: str) -> None:
    for line in text.splitlines():
        print(f"  {output.clean(line)}")
