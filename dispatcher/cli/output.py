"""What commands print: JSON for programs, tables for people.

On a terminal there are colours. Elsewhere it is plain text: no escape sequences, nothing cut off,
nothing that a program reading on would stumble over.
Text that came from callers and destinations is never sent to a terminal as it is: an escape
sequence in a target could do with the operator's terminal what it likes.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

from dispatcher.cli.moments import NOTHING as NOTHING
from dispatcher.cli.moments import Moment
from dispatcher.cli.moments import instant as instant
from dispatcher.cli.styles import has_colours, style_of, styled
from dispatcher.cli.widths import width_of

if TYPE_CHECKING:
    from rich.console import Console

_GAP: Final = "  "
_EMPTY: Final = '""'
_BLANKS: Final = re.compile(r"(?<=\S) {2,}")


def print_json(value: object) -> None:
    """Print one document on one line, at once: whoever follows a stream waits for it."""
    print(json.dumps(value), flush=True)


def print_note(text: str) -> None:
    """Tell the person something that is no result, on standard error."""
    with suppress(OSError):  # there is nobody to be told
        print(clean(text), file=sys.stderr, flush=True)


def print_record(fields: Mapping[str, object]) -> None:
    """Print one thing, a line for each field. On a terminal an instant has its age, and a value
    that would be broken in the middle of it stands on the next line."""
    if not is_terminal(sys.stdout):
        print_plain([(f"{name}:", _plain(value)) for name, value in fields.items()])
        return
    names = max((len(name) for name in fields), default=0) + 1
    room = width() - names - len(_GAP)
    for name, value in fields.items():
        text = clean(value.both() if isinstance(value, Moment) else value)
        label = styled(f"{name}:", "bold") + " " * (names - len(name) - 1)
        shown = styled(text, style_of(text))
        if width_of(text) > room:
            print(f"{styled(f'{name}:', 'bold')}\n{_GAP}{shown}")
        else:
            print(f"{label}{_GAP}{shown}")


def options(given: Mapping[str, object] | None) -> dict[str, object]:
    """Return the options of a message as fields of a record: names in words, instants as they are
    shown elsewhere."""
    return {key.replace("_", " "): _option(value) for key, value in (given or {}).items()}


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


def width() -> int:
    """Return how many cells a line of the terminal has (COLUMNS, where that is set)."""
    return shutil.get_terminal_size().columns


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


def print_plain(rows: Sequence[Sequence[object]]) -> None:
    """Print rows as columns of plain text, whole: two blanks or more between them, never within."""
    texts = [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for cells in texts:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(_GAP.join(padded).rstrip())


def _cells(row: Sequence[object]) -> list[str]:
    """Nothing between two columns could not be told from the gap: it is shown as `""`."""
    texts = [_single_spaced(clean(value)) for value in row]
    return [text or _EMPTY for text in texts[:-1]] + texts[-1:]


def _single_spaced(text: str) -> str:
    """Columns are told apart by two blanks: of those within a value all but the first are shown as
    what they are."""
    return _BLANKS.sub(lambda found: " " + "\\x20" * (len(found[0]) - 1), text)


def _plain(value: object) -> object:
    return value.whole() if isinstance(value, Moment) else value


def _option(value: object) -> object:
    text = str(value)
    return Moment(text) if len(text) == len("2026-01-31T12:00:00.000000Z") and "T" in text else text
