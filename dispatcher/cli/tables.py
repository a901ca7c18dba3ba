"""Tables: columns of plain text for programs, and on a terminal what fits its width.

A program gets every column and whole instants. A person gets a line for each row, however narrow
the terminal is: columns that say less are left out, what can be long is cut in its middle, and an
instant becomes an age. Where next to an id there is no room for anything, the rest of the row
stands under it. `--wide` shows a person what a program gets.

Plain text keeps its form: a line of titles, then a line for each row; columns are separated by two
blanks or more, and there are never two blanks, nor a tab, within a value.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from dispatcher.cli import output
from dispatcher.cli.moments import Moment as Moment
from dispatcher.cli.styles import style_of, styled
from dispatcher.cli.widths import cut, width_of

_GAP: Final = 2
_BESIDE: Final = 30
"""Cells beside an id of which something can be made; with fewer the rest stands under it."""
_INDENT: Final = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    `is_extra`: left out where there is no room for it, those of a higher `rank` first, then those
    further right. `is_cut`: cut where there is no room, to `least` cells before another column is
    left out. `is_key`: what the next command is given;
    always whole. `is_right`: stands right on a terminal, as columns of numbers do. `short` is the
    title where instants are ages and room is scarce.
    """

    title: str
    is_extra: bool = False
    is_cut: bool = False
    rank: int = 0
    is_key: bool = False
    is_right: bool = False
    least: int = 12
    short: str = ""


def print_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    is_wide: bool = False,
    none: str | None = None,
) -> None:
    """Print rows under their columns. Numbers stand right on a terminal, None is `-`.

    Args:
        columns: their titles, and what may be done to them.
        rows: their values, in the order of the columns.
        is_wide: let a terminal have everything, however wide that is.
        none: what a person is told in place of a table without rows.
    """
    if not output.is_terminal(sys.stdout):
        titles = [column.title for column in columns]
        output.print_plain([titles, *([_whole(value) for value in row] for row in rows)])
    elif not rows and none is not None:
        output.print_note(none)
    else:
        for line in lines(columns, rows, None if is_wide else output.width()):
            print(line)


def lines(
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    width: int | None,
    now: datetime | None = None,
) -> list[str]:
    """Return the table that a terminal of that width is shown, with colours; None: all of it.

    The first line has the titles. Each row is a line; two, where its id has one of its own.
    """
    now = now or datetime.now(UTC)
    if width is not None:
        columns = [replace(one, title=one.short or one.title) for one in columns]
    short = _whole if width is None else lambda value: _short(value, now)
    texts = [[output.clean(short(value)) for value in row] for row in rows]
    key = _key_above(columns, texts, width)
    under = () if key is None else (key,)
    indent = _INDENT if under else ""
    room = None if width is None else width - len(indent)
    widths = fitted(columns, texts, room, without=under)
    right = {index for index in widths if columns[index].is_right or _are_numbers(rows, index)}

    def line(cells: Sequence[str], style: str | None = None) -> str:
        drawn = [
            _cell(cells[index], size, is_right=index in right, style=style)
            for index, size in widths.items()
        ]
        return (indent + (" " * _GAP).join(drawn)).rstrip()

    titles = [column.title for column in columns]
    found: list[str] = []
    if key is not None:
        found.append(styled(titles[key], "bold"))
    found.append(line(titles, "bold"))
    for row in texts:
        if key is not None:
            found.append(row[key])
        found.append(line(row))
    return found


def fitted(
    columns: Sequence[Column],
    texts: Sequence[Sequence[str]],
    width: int | None,
    *,
    without: Sequence[int] = (),
) -> dict[int, int]:
    """Decide which columns are shown, by their index, and how wide each is.

    Args:
        columns: what may be done to them.
        texts: the rows.
        width: how much room there is; None: no end of it.
        without: columns that stand elsewhere.
    """
    wanted = {
        index: max([width_of(column.title), *(width_of(row[index]) for row in texts)])
        for index, column in enumerate(columns)
        if index not in without
    }
    if width is None:
        return wanted
    _leave_out_empty(columns, texts, wanted, width)
    least = {
        index: min(size, max(columns[index].least, width_of(columns[index].title)))
        if columns[index].is_cut
        else size
        for index, size in wanted.items()
    }
    for index in sorted(least, key=lambda index: (-columns[index].rank, -index)):
        if _total(least) <= width:
            break
        if columns[index].is_extra:
            del least[index]
    for index in least:  # narrower than a table can be: whatever is left
        if columns[index].is_cut:
            least[index] = max(4, least[index] - max(_total(least) - width, 0))
    return _grown(least, wanted, width)


def _leave_out_empty(
    columns: Sequence[Column], texts: Sequence[Sequence[str]], wanted: dict[int, int], width: int
) -> None:
    """Take out columns that say nothing, as long as there is no room for all."""
    for index in sorted(wanted, reverse=True):
        says_nothing = all(row[index] == output.NOTHING for row in texts)
        if columns[index].is_extra and says_nothing and _total(wanted) > width:
            del wanted[index]


def _grown(least: Mapping[int, int], wanted: Mapping[int, int], width: int) -> dict[int, int]:
    """Give what is left to those that were cut: what the narrowest does not need the others get."""
    found = dict(least)
    spare = max(width - _total(found), 0)
    growing = sorted((i for i in found if wanted[i] > found[i]), key=wanted.__getitem__)
    for place, index in enumerate(growing):
        more = min(wanted[index] - found[index], spare // (len(growing) - place))
        found[index] += more
        spare -= more
    return found


def _key_above(
    columns: Sequence[Column], texts: Sequence[Sequence[str]], width: int | None
) -> int | None:
    """The column that gets a line of its own, as next to it there is no room; None: none does."""
    if width is None:
        return None
    for index, column in enumerate(columns):
        if column.is_key and texts:
            taken = max(width_of(row[index]) for row in texts)
            return index if width - taken - _GAP < _BESIDE else None
    return None


def _cell(text: str, width: int, *, is_right: bool, style: str | None) -> str:
    shown = cut(text, width)
    blanks = " " * (width - width_of(shown))
    drawn = styled(shown, style or style_of(text))
    return blanks + drawn if is_right else drawn + blanks


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + _GAP * max(len(widths) - 1, 0)


def _whole(value: object) -> object:
    return value.whole() if isinstance(value, Moment) else value


def _short(value: object, now: datetime) -> object:
    return value.age(now) if isinstance(value, Moment) else value


def _are_numbers(rows: Sequence[Sequence[object]], index: int) -> bool:
    return bool(rows) and all(_is_number(row[index]) for row in rows)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
