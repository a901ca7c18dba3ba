"""`dispatcher audit`: what operators did, the newest first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from dispatcher.cli import output, tables, times, where
from dispatcher.cli.client import Json
from dispatcher.cli.jobs import selection
from dispatcher.cli.listing import Limit, Listed
from dispatcher.cli.options import AsJson, KeyFile, Url, Wide
from dispatcher.cli.tables import Column, Moment
from dispatcher.cli.watching import watched

PATH: Final = "/v1/audit"
_COLUMNS: Final = (
    Column("when"),
    Column("action"),
    Column("key", is_cut=True),
    Column("count", is_extra=True, rank=1, is_right=True),
    Column("selection", is_cut=True),
    Column("error", is_extra=True, rank=2),
    Column("job", is_extra=True, rank=3),
)

Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only what was done then or later: a span ago such as 2h, or 2026-01-31T12:00:00Z, or "
        "a date in UTC.",
        show_default=False,
    ),
]
ActionFilter = Annotated[
    str | None,
    typer.Option(
        "--action",
        metavar="ACTION",
        help="Only this: purged, redriven, held, key_refused, …",
        show_default=False,
    ),
]
KeyFilter = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="NAME", help="Only what was done with this key.", show_default=False
    ),
]


@watched
def audit(
    since: Since = None,
    action: ActionFilter = None,
    key: KeyFilter = None,
    limit: Limit = 100,
    wide: Wide = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List what operators did, to which and to how many, the newest first."""
    earliest = None if since is None else times.moment(since, "--since", datetime.now(UTC))
    query = {"since": earliest, "action": action, "key": key}
    found = Listed(where.api(url, key_file), PATH, query, limit)
    if as_json:
        for entry in found:
            output.print_json(entry)
    else:
        rows = [_row(entry) for entry in found]
        tables.print_table(_COLUMNS, rows, is_wide=wide, none="Nothing was done.")
    if found.last.get("unkept"):
        output.print_note(f"The newest are in memory only: {found.last['unkept']}")
    found.note_more()


def _row(entry: Json) -> tuple[object, ...]:
    return (
        Moment(entry["at"]),
        entry["action"],
        entry["key"],
        entry["count"],
        selection(entry["selection"]),
        entry["error"],
        entry["job"],
    )
