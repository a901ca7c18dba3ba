"""`dispatcher dead`: look at dead letters, send them again, or throw them away."""

from __future__ import annotations

import base64
import sys
from typing import Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import applying, one_letter, output, tables, where
from dispatcher.cli.batches import PURGE, REDRIVE
from dispatcher.cli.causes import cause
from dispatcher.cli.client import Json
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.listing import Limit, Listed
from dispatcher.cli.options import (
    AfterFilter,
    All,
    AsJson,
    BeforeFilter,
    DestinationFilter,
    DryRun,
    ErrorFilter,
    FunctionFilter,
    KeyFile,
    KindFilter,
    OlderThan,
    StatusFilter,
    Url,
    Yes,
)
from dispatcher.cli.selection import STDIN, filters_of, read_ids, select
from dispatcher.cli.tables import Column, Moment

_LIST_COLUMNS: Final = (
    Column("id"),
    Column("died"),
    Column("destination", is_cut=True),
    Column("request", is_cut=True),
    Column("attempts", is_extra=True),
    Column("cause"),
    Column("size", is_extra=True),
)
_GROUP_COLUMNS: Final = (
    Column("destination", is_cut=True),
    Column("cause"),
    Column("reason", is_extra=True),
    Column("count"),
    Column("size"),
    Column("oldest"),
    Column("newest"),
    Column("function", is_extra=True, is_cut=True),
)

LetterId = Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id.")]
SomeIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Which; '-' reads ids from standard input."),
]
Rate = Annotated[
    int | None,
    typer.Option(
        min=1, max=100_000, metavar="N", help="At most N messages a second.", show_default=False
    ),
]
BodyOnly = Annotated[
    bool, typer.Option("--body", help="Print nothing but the body, byte for byte.")
]


def list_(
    kind: KindFilter = None,
    destination: DestinationFilter = None,
    function: FunctionFilter = None,
    status: StatusFilter = None,
    error: ErrorFilter = None,
    before: BeforeFilter = None,
    after: AfterFilter = None,
    older_than: OlderThan = None,
    limit: Limit = 100,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first."""
    filters = filters_of(kind, destination, function, status, error, before, after, older_than)
    letters = Listed(where.api(url, key_file), "/v1/dead-letters", filters.given(), limit)
    if as_json:
        for letter in letters:
            output.print_json(letter)
    else:
        tables.print_table(_LIST_COLUMNS, [_list_row(letter) for letter in letters])
    letters.note_more()


def show(
    message_id: LetterId,
    body: BodyOnly = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: its request, its body and every attempt."""
    letter = where.api(url, key_file).get(f"/v1/dead-letters/{quote(message_id, safe='')}")
    if body:
        sys.stdout.buffer.write(base64.b64decode(letter["body"]))
        sys.stdout.buffer.flush()
    elif as_json:
        output.print_json(letter)
    else:
        one_letter.show(letter)


def groups(
    kind: KindFilter = None,
    destination: DestinationFilter = None,
    function: FunctionFilter = None,
    status: StatusFilter = None,
    error: ErrorFilter = None,
    before: BeforeFilter = None,
    after: AfterFilter = None,
    older_than: OlderThan = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by destination and cause."""
    filters = filters_of(kind, destination, function, status, error, before, after, older_than)
    found = where.api(url, key_file).get("/v1/dead-letters/groups", filters.given())["items"]
    if as_json:
        for group in found:
            output.print_json(group)
        return
    tables.print_table(_GROUP_COLUMNS, [_group_row(group) for group in found])


def redrive(
    ids: SomeIds = None,
    kind: KindFilter = None,
    destination: DestinationFilter = None,
    function: FunctionFilter = None,
    status: StatusFilter = None,
    error: ErrorFilter = None,
    before: BeforeFilter = None,
    after: AfterFilter = None,
    older_than: OlderThan = None,
    everything: All = False,
    rate: Rate = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again.

    They are ready under the same ids, with attempts from 1.
    """
    filters = filters_of(kind, destination, function, status, error, before, after, older_than)
    selection = select(_ids(ids), filters, everything=everything)
    applying.apply(
        where.api(url, key_file),
        REDRIVE,
        selection,
        rate=rate,
        dry_run=dry_run,
        must_ask=everything and not yes,
        as_json=as_json,
    )


def purge(
    ids: SomeIds = None,
    kind: KindFilter = None,
    destination: DestinationFilter = None,
    function: FunctionFilter = None,
    status: StatusFilter = None,
    error: ErrorFilter = None,
    before: BeforeFilter = None,
    after: AfterFilter = None,
    older_than: OlderThan = None,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Throw dead letters away, for good."""
    filters = filters_of(kind, destination, function, status, error, before, after, older_than)
    selection = select(_ids(ids), filters, everything=everything)
    applying.apply(
        where.api(url, key_file),
        PURGE,
        selection,
        rate=None,
        dry_run=dry_run,
        must_ask=not yes,
        as_json=as_json,
    )


def _ids(given: list[str] | None) -> list[str]:
    if given != [STDIN]:
        return given or []
    found = read_ids(sys.stdin)
    if not found:
        raise BadUsage("standard input: no ids in it")
    return found


def _list_row(letter: Json) -> tuple[object, ...]:
    return (
        letter["id"],
        Moment(letter["dead_at"]),
        letter["destination"],
        one_letter.request(letter),
        letter["attempts"],
        cause(letter["last_status"], letter["last_error"]),
        output.size(letter["size_bytes"]),
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
