"""What commands print: JSON for programs, tables for people.

On a terminal tables have colours and lines, drawn by rich. Elsewhere they are columns of plain
text: no escape sequences, nothing cut off, nothing that a program reading on would stumble over.
Text that came from callers and destinations is never sent to a terminal as it is: an escape
sequence in a target could do with the operator's terminal what it likes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STYLES: Final = {
    "dead": "red",
    "delivered": "green",
    "in_flight": "cyan",
    "scheduled": "yellow",
    "open": "red",
    "half_open": "yellow",
    "paused": "yellow",
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
    print(clean(text), file=sys.stderr, flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their columns. Numbers stand right, None is `-`."""
    if is_terminal(sys.stdout):
        console().print(drawn(columns, rows))
    else:
        _print_plain([columns, *rows])


def print_record(fields: Mapping[str, object]) -> None:
    """Print one thing, a line for each field."""
    if not is_terminal(sys.stdout):
        _print_plain([(f"{name}:", value) for name, value in fields.items()])
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value in fields.items():
        table.add_row(_cell(f"{name}:", style="bold"), _cell(value))
    console().print(table)


def drawn(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return the table that a terminal is shown."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        right = bool(rows) and all(_is_number(row[index]) for row in rows)
        table.add_column(
            column,
            justify="right" if right else "left",
            no_wrap=right or column == "id",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


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


def _print_plain(rows: Sequence[Sequence[object]]) -> None:
    texts = [[clean(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _cell(value: object, style: str | None = None) -> Any:
    from rich.text import Text

    text = clean(value)
    return Text(text, style=style or _STYLES.get(text, ""))


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
