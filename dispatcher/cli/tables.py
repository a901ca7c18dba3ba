"""Tables: columns of plain text for programs, and on a terminal what fits its width.

A program gets every column and whole instants. A person gets a line for each row, however narrow
the terminal is: columns that say less are left out, what can be long is cut with an ellipsis, and
an instant becomes an age. What is left is decided here; rich only draws.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from dispatcher.cli import output

if TYPE_CHECKING:
    from rich.table import Table

_GAP: Final = 2
_LEAST: Final = 12
"""What a column that can be cut is cut to before another one is left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `is_extra`: left out where there is no room for it; `is_cut`: cut there."""

    title: str
    is_extra: bool = False
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant as the API spells it, or None: whole for programs, for people how long ago."""

    spelled: str | None

    def age(self, now: datetime) -> str:
        """Return `5m`, `in 12s`, `now`, or `-` where there is no instant."""
        try:
            then = datetime.fromisoformat(self.spelled or "")
        except ValueError:
            return output.clean(self.spelled)
        passed_s = round((now - then).total_seconds())
        if not passed_s:
            return "now"
        text = short_span(abs(passed_s))
        return text if passed_s > 0 else f"in {text}"


def short_span(seconds: int) -> str:
    """Return a span of 0 s or more in its largest unit: `45s`, `90m` is `1h`, `2d`."""
    for unit, unit_s in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= unit_s:
            return f"{seconds // unit_s}{unit}"
    return f"{seconds}s"


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their columns. Numbers stand right, None is `-`."""
    if output.is_terminal(sys.stdout):
        console = output.console()
        console.print(drawn(columns, rows, console.width))
        return
    titles = [column.title for column in columns]
    output.print_plain([titles, *([_whole(value) for value in row] for row in rows)])


def drawn(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int) -> Table:
    """Return the table that a terminal of that width is shown."""
    from rich import box
    from rich.table import Table

    now = datetime.now(UTC)
    texts = [[_short(value, now) for value in row] for row in rows]
    widths = fitted(columns, texts, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False)
    for index, room in widths.items():
        is_number = bool(rows) and all(_is_number(row[index]) for row in rows)
        table.add_column(
            cut(columns[index].title, room),
            justify="right" if is_number else "left",
            no_wrap=True,
            min_width=room,
            max_width=room,
        )
    for row in texts:
        table.add_row(*(output.cell(cut(row[index], room)) for index, room in widths.items()))
    return table


def fitted(columns: Sequence[Column], texts: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Decide which columns are shown, by their index, and how wide each is."""
    wanted = {
        index: max([len(column.title), *(len(row[index]) for row in texts)])
        for index, column in enumerate(columns)
    }
    least = {
        index: min(size, _LEAST) if columns[index].is_cut else size
        for index, size in wanted.items()
    }
    for index in reversed(range(len(columns))):
        if _total(least) <= width:
            break
        if columns[index].is_extra:
            del least[index]
    for index in least:  # narrower than a table can be: whatever is left
        if columns[index].is_cut:
            least[index] = max(4, least[index] - max(_total(least) - width, 0))
    spare = max(width - _total(least), 0)
    # The narrowest first: what it does not need is left for the others.
    growing = sorted(
        (index for index in least if wanted[index] > least[index]), key=wanted.__getitem__
    )
    for place, index in enumerate(growing):
        more = min(wanted[index] - least[index], spare // (len(growing) - place))
        least[index] += more
        spare -= more
    return least


def cut(text: str, width: int) -> str:
    """Return a text that is at most so wide; an ellipsis stands for what is missing."""
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + _GAP * max(len(widths) - 1, 0)


def _whole(value: object) -> object:
    return output.instant(value.spelled) if isinstance(value, Moment) else value


def _short(value: object, now: datetime) -> str:
    return value.age(now) if isinstance(value, Moment) else output.clean(value)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
