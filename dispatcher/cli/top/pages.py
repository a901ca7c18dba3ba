"""The pages of `top` besides the lanes: one lane, one message or letter, and the help."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from dispatcher.cli import one_letter, output, tables
from dispatcher.cli.causes import cause
from dispatcher.cli.client import Json
from dispatcher.cli.moments import Moment
from dispatcher.cli.stats import lane_state
from dispatcher.cli.styles import styled
from dispatcher.cli.tables import Column
from dispatcher.cli.top.pressing import HELP
from dispatcher.cli.top.state import MOST_ROWS, State
from dispatcher.cli.top.windows import windowed
from dispatcher.cli.widths import cut_end

_ROWS: Final = (
    Column("id", is_key=True),
    Column("state"),
    Column("age"),
    Column("next", is_extra=True, rank=3),
    Column("attempts", is_extra=True, rank=4),
    Column("last error", is_extra=True, rank=1),
    Column("request", is_extra=True, is_cut=True, rank=2),
)
_LONGEST_KEY: Final = max(len(names) for names, _ in HELP)


def lane_lines(state: State, width: int, room: int) -> list[str]:
    """Return one lane: how it does, what waits for it, and its dead letters."""
    opened = state.opened
    if opened is None:
        return []
    lines = ["", styled(cut_end(output.clean(opened.destination), width), "bold")]
    lines.append(cut_end(_in_words(state.lane()), width))
    if opened.messages is None or opened.letters is None:
        return [*lines, "", "Asking…"]
    counts = f"{_counted(opened.messages, 'waiting')}, {_counted(opened.letters, 'dead')}"
    lines.append(styled(cut_end(counts, width), "dim"))
    rows = [_message_row(one) for one in opened.messages]
    rows += [_letter_row(one) for one in opened.letters]
    if not rows:
        return lines
    table = tables.lines(_ROWS, rows, width - 2)
    row_lines = len(table) // (len(rows) + 1)
    place = min(state.row, len(rows) - 1)
    left = max(room - len(lines), 2)
    return [*lines, *windowed(table, place, left, width, row_lines=row_lines)]


def _in_words(lane: Json | None) -> str:
    if lane is None:
        return "Nothing waits for it, and it is not held."
    parts = [lane_state(lane) or "served"]
    if lane.get("paused_until"):
        parts.append(f"until {Moment(lane['paused_until']).age()}")
    if lane.get("last_error"):
        parts.append(f"last error {lane['last_error']} {_ago(lane.get('last_error_at'))}")
    if lane.get("failing_since"):
        parts.append(f"failing for {Moment(lane['failing_since']).age()}")
    return output.clean(", ".join(parts))


def _ago(spelled: str | None) -> str:
    age = Moment(spelled).age(datetime.now(UTC))
    return age if age in ("now", output.NOTHING) else f"{age} ago"


def _counted(rows: list[Json], what: str) -> str:
    if len(rows) < MOST_ROWS:
        return f"{output.plural(len(rows), 'message')} {what}"
    return f"the {len(rows)} oldest messages {what}"


def _message_row(one: Json) -> tuple[object, ...]:
    return (
        one["id"],
        one["state"],
        Moment(one["accepted_at"]),
        Moment(one.get("next_attempt_at")),
        one.get("attempts"),
        one.get("last_error"),
        f"{one.get('method')} {one.get('target')}",
    )


def _letter_row(one: Json) -> tuple[object, ...]:
    return (
        one["id"],
        "dead",
        Moment(one["dead_at"]),
        Moment(None),
        one.get("attempts"),
        cause(one.get("last_status"), one.get("last_error")),
        one_letter.request(one),
    )


def one_lines(state: State, width: int, room: int) -> list[str]:
    """Return one message, explained, or one dead letter, from the line that it is scrolled to."""
    lines = ["", styled(state.one_id, "bold")]
    if state.one is None:
        return [*lines, "", "Asking…"]
    letter = state.one.get("letter")
    told = list(_letter(letter) if letter is not None else _message(state.one))
    body = [part for line in told for part in _wrapped(line, width)]
    left = max(room - len(lines), 1)
    first = min(state.scroll, max(len(body) - left, 0))
    return [*lines, *body[first : first + left]]


def _message(one: Json) -> Iterator[str]:
    message, explanation = one["message"], one["explanation"]
    yield str(explanation.get("message"))
    yield ""
    yield from _fields(
        {
            "state": message.get("state"),
            "reason": explanation.get("reason"),
            "until": Moment(explanation.get("until")),
            "next attempt": Moment(explanation.get("expected_at")),
            "destination": message.get("destination"),
            "request": f"{message.get('method')} {message.get('target')}",
            "accepted": Moment(message.get("accepted_at")),
            "attempts": message.get("attempts"),
            "last error": message.get("last_error"),
            **output.options(message.get("options")),
        }
    )


def _letter(letter: Json) -> Iterator[str]:
    yield str(letter.get("detail") or letter.get("reason"))
    yield ""
    yield from _fields(
        {
            "reason": letter.get("reason"),
            "last error": cause(letter.get("last_status"), letter.get("last_error")),
            "destination": letter.get("destination"),
            "request": one_letter.request(letter),
            "accepted": Moment(letter.get("accepted_at")),
            "died": Moment(letter.get("dead_at")),
            "size": output.size(letter.get("size_bytes") or 0),
            **output.options(letter.get("options")),
        }
    )
    yield ""
    for entry in letter.get("history") or ():
        error = cause(entry.get("status"), entry.get("error"))
        at = output.instant(entry.get("started_at"))
        yield f"attempt {entry.get('attempt')}: {error} in {entry.get('duration_ms')} ms, at {at}"


def _fields(fields: dict[str, object]) -> Iterator[str]:
    room = max(len(name) for name in fields) + 1
    for name, value in fields.items():
        text = value.both() if isinstance(value, Moment) else value
        yield f"{name + ':':<{room}}  {output.clean(text)}"


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(output.clean(line), max(width, 10), subsequent_indent="  ") or [""]


def help_lines(width: int, room: int) -> list[str]:
    """Return what the keys do."""
    lines = [""]
    for names, meaning in HELP:
        first, *others = textwrap.wrap(meaning, max(width - _LONGEST_KEY - 2, 10))
        lines.append(f"{styled(names, 'bold')}{' ' * (_LONGEST_KEY - len(names) + 2)}{first}")
        lines += [" " * (_LONGEST_KEY + 2) + line for line in others]
    return lines[:room]
