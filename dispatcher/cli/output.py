"""What commands print: JSON for programs, tables for people.

On a terminal there are colours, drawn by rich. Elsewhere it is plain text: no escape sequences,
nothing cut off, nothing that a program reading on would stumble over.
Text that came from callers and destinations is never sent to a terminal as it is: an escape
sequence in a target could do with the operator's terminal what it likes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_STYLES: Final = {
    "dead": "red",
    "delivered": "green",
    "in_flight": "cyan",
    "scheduled": "yellow",
    "held": "red",
    "backs off": "yellow",
    "probing": "yellow",
    "attempted": "yellow",
    "environment": "cyan",
    "file": "cyan",
}
"""Words that stand out where they are the whole cell."""
NOTHING: Final = "-"


def print_json(value: object) -> None:
    """Print one document on one line, at once: whoever follows a stream waits for it."""
    print(json.dumps(value), flush=True)


def print_note(text: str) -> None:
    """Tell the person something that is no result, on standard error."""
    with suppress(OSError):  # there is nobody to be told
        print(clean(text), file=sys.stderr, flush=True)


def print_record(fields: Mapping[str, object]) -> None:
    """Print one thing, a line for each field."""
    if not is_terminal(sys.stdout):
        print_plain([(f"{name}:", value) for name, value in fields.items()])
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value in fields.items():
        table.add_row(cell(f"{name}:", style="bold"), cell(value))
    console().print(table)


def console(stream: TextIO | None = None) -> Console:
    """Return a console for a terminal; with `NO_COLOR` it writes no style at all."""
    from rich.console import Console

    return Console(
        file=stream or sys.stdout,
        color_system="auto" if has_colours() else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def is_terminal(stream: TextIO) -> bool:
    """Say whether a person sees what is written there."""
    return not stream.closed and stream.isatty()


def has_colours() -> bool:
    """Say whether colours are wanted (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def clean(value: object) -> str:
    """Return a value as text of which every character can be shown; None is `-`."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case _:
            return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))


def plural(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(number: int) -> str:
    """Return a number of bytes for people."""
    if number < 1024:
        return f"{number} B"
    amount = float(number)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def instant(text: str | None) -> str | None:
    """Shorten an instant of the API to milliseconds; what does not look like one stays."""
    if isinstance(text, str) and len(text) == 27 and text.endswith("Z"):
        return text[:-4] + "Z"
    return text


def print_plain(rows: Sequence[Sequence[object]]) -> None:
    """Print rows as columns of plain text, whole."""
    texts = [[clean(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def cell(value: object, style: str | None = None) -> Any:
    """Return what rich shows for a value; some words have a colour of their own."""
    from rich.text import Text

    text = clean(value)
    return Text(text, style=style or _STYLES.get(text, ""))
