"""`dispatcher messages`: look at messages that wait, cancel them, move them, or try them now."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated, Final

import typer

from dispatcher.cli import applying, bodies, completing, messages, output, rates, tables, where
from dispatcher.cli.batches import CANCEL, DEAD_LETTER, REDIRECT, RETRY, Verb
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.filtering import taking, waiting_filters
from dispatcher.cli.listing import Limit, Listed
from dispatcher.cli.options import (
    AllWaiting,
    AsJson,
    BodyOnly,
    DryRun,
    KeyFile,
    MessageId,
    PaceOption,
    Reveal,
    To,
    Url,
    Wide,
    Yes,
)
from dispatcher.cli.selection import STDIN, WAITING_OPTIONS, WaitingFilters, given_ids, select
from dispatcher.cli.standing import due, last_error, standing
from dispatcher.cli.tables import Column, Moment
from dispatcher.cli.watching import watched

_COLUMNS: Final = (
    Column("id", is_key=True),
    Column("accepted", short="age"),
    Column("state"),
    Column("destination", is_cut=True),
    Column("request", is_cut=True, is_extra=True, rank=2),
    Column("attempts", is_extra=True, rank=4),
    Column("next attempt", short="next", is_extra=True, rank=1),
    Column("last error", is_extra=True),
    Column("size", is_extra=True, is_right=True, rank=5),
    Column("label", is_extra=True, is_cut=True, rank=3),
)
_NONE: Final = "No messages wait."

SomeIds = Annotated[
    list[str] | None,
    typer.Argument(
        autocompletion=completing.messages,
        metavar="ID",
        help="Which; '-' reads ids from standard input.",
    ),
]


@watched
@taking(waiting_filters)
def list_(
    filters: WaitingFilters,
    limit: Limit = 100,
    wide: Wide = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List messages that are neither delivered nor dead, the oldest first.

    `state` says `held`, `backs off` or `probing` where that is what their destination does.
    """
    found = Listed(where.api(url, key_file), "/v1/messages", filters.given(), limit)
    if as_json:
        for one in found:
            output.print_json(one)
    else:
        tables.print_table(_COLUMNS, [_row(one) for one in found], is_wide=wide, none=_NONE)
    found.note_more()


def show(
    message_id: MessageId,
    body: BodyOnly = False,
    reveal: Reveal = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a message: where it stands, its request and its body."""
    if body and as_json:
        raise BadUsage("--body and --json print different things: give one of them")
    api = where.api(url, key_file)
    path = messages.path_of(message_id)
    if body:
        bodies.print_bytes(api, f"{path}/body")
        return
    found = api.get(path, {"reveal": "true"} if reveal else {})
    if as_json:
        output.print_json(found)
        return
    messages.print_message(found)
    if found["headers"] is None:
        return
    print("\nHeaders")
    for name, value in found["headers"]:
        print(f"  {output.clean(name)}: {output.clean(value)}")
    print(f"\nBody ({output.size(found['size_bytes'])})")
    rest = f"`dispatcher messages body {message_id}` prints all of it"
    bodies.print_start(api, f"{path}/body", size_bytes=found["size_bytes"], rest=rest)


def body(message_id: MessageId, url: Url = None, key_file: KeyFile = None) -> None:
    """Print the body of a message, byte for byte."""
    bodies.print_bytes(where.api(url, key_file), f"{messages.path_of(message_id)}/body")


@taking(waiting_filters)
def cancel(
    filters: WaitingFilters,
    ids: SomeIds = None,
    everything: AllWaiting = False,
    rate: PaceOption = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel messages: they are never delivered from then on.

    Those that are in flight are left alone. Who names messages is not asked.
    """
    _apply(
        CANCEL,
        *(where.api(url, key_file), ids, filters),
        everything=everything,
        rate=rate,
        dry_run=dry_run,
        must_ask=not yes and (not ids or STDIN in ids),
        as_json=as_json,
    )


@taking(waiting_filters)
def retry(
    filters: WaitingFilters,
    ids: SomeIds = None,
    everything: AllWaiting = False,
    rate: PaceOption = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Try messages now that wait for their next attempt, or for a delay that was asked for.

    A destination that is held or left alone stays so: `dispatcher destinations retry` tries it.
    """
    _apply(
        RETRY,
        *(where.api(url, key_file), ids, filters),
        everything=everything,
        rate=rate,
        dry_run=dry_run,
        must_ask=everything and not yes,
        as_json=as_json,
    )


@taking(waiting_filters)
def dead_letter(
    filters: WaitingFilters,
    ids: SomeIds = None,
    everything: AllWaiting = False,
    rate: PaceOption = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Move messages to the dead letters: from there they can be redriven.

    Those that are in flight are left alone.
    """
    _apply(
        DEAD_LETTER,
        *(where.api(url, key_file), ids, filters),
        everything=everything,
        rate=rate,
        dry_run=dry_run,
        must_ask=everything and not yes,
        as_json=as_json,
    )


@taking(waiting_filters)
def redirect(
    to: To,
    filters: WaitingFilters,
    ids: SomeIds = None,
    everything: AllWaiting = False,
    rate: PaceOption = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send messages to another destination, under their ids and with fresh attempts.

    Those that are in flight are left alone.
    """
    _apply(
        replace(REDIRECT, more=(("to", to),)),
        *(where.api(url, key_file), ids, filters),
        everything=everything,
        rate=rate,
        dry_run=dry_run,
        must_ask=everything and not yes,
        as_json=as_json,
    )


def _apply(
    verb: Verb,
    api: Api,
    ids: list[str] | None,
    filters: WaitingFilters,
    *,
    everything: bool,
    rate: str | None,
    dry_run: bool,
    must_ask: bool,
    as_json: bool,
) -> None:
    selected = select(
        given_ids(ids, sys.stdin), filters, everything=everything, options=WAITING_OPTIONS
    )
    applying.apply(
        *(api, verb, selected),
        rate=None if rate is None else rates.sent(rate, "--rate"),
        dry_run=dry_run,
        must_ask=must_ask,
        as_json=as_json,
    )


def _row(one: Json) -> tuple[object, ...]:
    return (
        one["id"],
        Moment(one["accepted_at"]),
        standing(one),
        one["destination"],
        f"{one['method']} {one['target']}",
        one["attempts"],
        Moment(due(one)),
        last_error(one),
        output.size(one["size_bytes"]),
        one["label"],
    )
