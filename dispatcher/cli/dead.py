"""`dispatcher dead`: look at dead letters, send them again, or throw them away."""

from __future__ import annotations

import sys
from typing import Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import (
    applying,
    bodies,
    completing,
    editing,
    one_letter,
    output,
    rates,
    tables,
    where,
)
from dispatcher.cli.batches import PURGE, REDRIVE
from dispatcher.cli.causes import cause
from dispatcher.cli.client import Json
from dispatcher.cli.editing import Change
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.filtering import group_filters, letter_filters, taking
from dispatcher.cli.listing import Limit, Listed, items_of
from dispatcher.cli.options import (
    All,
    AsJson,
    BodyOnly,
    DryRun,
    KeyFile,
    NewBody,
    NewDestination,
    NewHeaders,
    PaceOption,
    RemovedHeaders,
    Reveal,
    Url,
    Wide,
    Yes,
)
from dispatcher.cli.selection import Filters, given_ids, select
from dispatcher.cli.tables import Column, Moment
from dispatcher.cli.watching import watched

_LIST_COLUMNS: Final = (
    Column("id", is_key=True),
    Column("died"),
    Column("destination", is_cut=True),
    Column("request", is_cut=True, is_extra=True, rank=1),
    Column("attempts", is_extra=True, rank=3),
    Column("last error"),
    Column("size", is_extra=True, is_right=True, rank=4),
    Column("label", is_extra=True, is_cut=True, rank=2),
)
_GROUP_COLUMNS: Final = (
    Column("destination", is_cut=True, least=20),
    Column("last error"),
    Column("reason", is_extra=True, rank=4),
    Column("count"),
    Column("size", is_extra=True, is_right=True, rank=5),
    Column("oldest", is_extra=True, rank=2),
    Column("newest", is_extra=True, rank=1),
    Column("function", is_extra=True, is_cut=True, rank=3),
)
_NONE: Final = "No dead letters."

LetterId = Annotated[
    str,
    typer.Argument(autocompletion=completing.letters, metavar="ID", help="The dead letter's id."),
]
SomeIds = Annotated[
    list[str] | None,
    typer.Argument(
        autocompletion=completing.letters,
        metavar="ID",
        help="Which; '-' reads ids from standard input.",
    ),
]
AsCurl = Annotated[
    bool, typer.Option("--curl", help="Print a command of curl that repeats the request.")
]


@watched
@taking(letter_filters)
def list_(
    filters: Filters,
    limit: Limit = 100,
    wide: Wide = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first."""
    letters = Listed(where.api(url, key_file), "/v1/dead-letters", filters.given(), limit)
    if as_json:
        for letter in letters:
            output.print_json(letter)
    else:
        rows = [_list_row(letter) for letter in letters]
        tables.print_table(_LIST_COLUMNS, rows, is_wide=wide, none=_NONE)
    letters.note_more()


def show(
    message_id: LetterId,
    body: BodyOnly = False,
    curl: AsCurl = False,
    reveal: Reveal = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: its request, its body and every attempt."""
    if body + curl + as_json > 1:
        raise BadUsage("--body, --curl and --json print different things: give one of them")
    api = where.api(url, key_file)
    path = f"/v1/dead-letters/{quote(message_id, safe='')}"
    query = {"reveal": "true"} if reveal else {}
    if body:
        bodies.print_bytes(api, f"{path}/body")
    elif curl:
        bodies.print_bytes(api, f"{path}/curl", query)
    elif as_json:
        output.print_json(api.get(path, query))
    else:
        letter = api.get(path, {**query, "body": "false"})
        with api.download_bytes(f"{path}/body", {"limit": one_letter.SHOWN_BYTES}) as pieces:
            one_letter.show(letter, b"".join(pieces))


@watched
@taking(group_filters)
def groups(
    filters: Filters,
    wide: Wide = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by destination and last error."""
    api, path = where.api(url, key_file), "/v1/dead-letters/groups"
    found = items_of(api.get(path, filters.given()), f"{api.server}{path}")
    if as_json:
        for group in found:
            output.print_json(group)
        return
    rows = [_group_row(group) for group in found]
    tables.print_table(_GROUP_COLUMNS, rows, is_wide=wide, none=_NONE)


@taking(letter_filters)
def redrive(
    filters: Filters,
    ids: SomeIds = None,
    everything: All = False,
    rate: PaceOption = None,
    to: NewDestination = None,
    header: NewHeaders = None,
    remove_header: RemovedHeaders = None,
    body_file: NewBody = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, or one of them changed.

    They are ready under the same ids, with attempts from 1.
    """
    change = Change(to, tuple(header or ()), tuple(remove_header or ()), body_file)
    if change.is_any:
        one = editing.only(ids or [], is_more=bool(filters.given() or everything or rate))
        editing.redrive(where.api(url, key_file), one, change, dry_run=dry_run, as_json=as_json)
        return
    selection = select(given_ids(ids, sys.stdin), filters, everything=everything)
    applying.apply(
        where.api(url, key_file),
        REDRIVE,
        selection,
        rate=None if rate is None else rates.sent(rate, "--rate"),
        dry_run=dry_run,
        must_ask=everything and not yes,
        as_json=as_json,
    )


@taking(letter_filters)
def purge(
    filters: Filters,
    ids: SomeIds = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Throw dead letters away, for good."""
    selection = select(given_ids(ids, sys.stdin), filters, everything=everything)
    applying.apply(
        where.api(url, key_file),
        PURGE,
        selection,
        rate=None,
        dry_run=dry_run,
        must_ask=not yes,
        as_json=as_json,
    )


def _list_row(letter: Json) -> tuple[object, ...]:
    return (
        letter["id"],
        Moment(letter["dead_at"]),
        letter["destination"],
        one_letter.request(letter),
        letter["attempts"],
        cause(letter["last_status"], letter["last_error"]),
        output.size(letter["size_bytes"]),
        letter.get("label"),
    )


def _group_row(group: Json) -> tuple[object, ...]:
    return (
        group["destination"],
        cause(group["status"], group["error"]),
        group["reason"],
        group["count"],
        output.size(group["size_bytes"]),
        Moment(group["oldest"]),
        Moment(group["newest"]),
        group.get("function"),
    )
