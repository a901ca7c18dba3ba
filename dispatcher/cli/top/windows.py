"""The part of a table that there is room for, with the row that is selected in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from dispatcher.cli.styles import styled
from dispatcher.cli.widths import padded

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")
_SELECTED: Final = "> "
_OTHER: Final = "  "


def windowed(
    table: Sequence[str], place: int, room: int, width: int, *, row_lines: int = 1
) -> list[str]:
    """Return lines of a table, its titles first; the selected row is marked, also without colours.

    Args:
        table: as `tables.lines` makes them.
        place: which row is selected.
        room: how many lines there are.
        width: of the terminal.
        row_lines: how many lines a row has; the titles have as many.
    """
    titles, body = table[:row_lines], table[row_lines:]
    fitting = max((room - row_lines) // row_lines, 1)
    rows = [body[at : at + row_lines] for at in range(0, len(body), row_lines)]
    first = max(0, min(place - fitting // 2, len(rows) - fitting))
    found = [_OTHER + line for line in titles]
    for index, row in enumerate(rows[first : first + fitting], first):
        found += [_line(line, index == place, width) for line in row]
    return found


def _line(line: str, is_selected: bool, width: int) -> str:
    if not is_selected:
        return _OTHER + line
    return styled(padded(_SELECTED + _ESCAPES.sub("", line), width), "reverse")
