"""`dispatcher messages`: look at messages that wait, cancel them, move them, or try them now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Bulk:
    """What to do something to, besides filters, and how: `ids`, or `everything`; at which `rate`,
    as a person writes it."""

    api: Api
    ids: Sequence[str]
    everything: bool
    rate: str | None
    dry_run: bool
    yes: bool
    as_json: bool

    def apply(self, verb: Verb, filters: WaitingFilters, *, asks_if: bool) -> None:
        """Do it. `asks_if` says whether a person is asked first, who does not say --yes."""
        selected = select(
            given_ids([*self.ids], sys.stdin),
            filters,
            everything=self.everything,
            options=WAITING_OPTIONS,
        )
        applying.apply(
            *(self.api, verb, selected),
            rate=None if self.rate is None else rates.sent(self.rate, "--rate"),
            dry_run=self.dry_run,
            must_ask=asks_if and not self.yes,
            as_json=self.as_json,
        )


def bulk(
    ids: SomeIds = None,
    everything: AllWaiting = False,
    rate: PaceOption = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> Bulk:
    """The options of commands that do something to many messages."""
    api = where.api(url, key_file)
    return Bulk(api, ids or (), everything, rate, dry_run, yes, as_json)


@taking(waiting_filters)
@taking(bulk, "bulk")
def cancel(filters: WaitingFilters, bulk: Bulk) -> None:
    """Cancel messages: they are never delivered from then on.

    Those that are in flight are left alone. Who names messages is not asked.
    """
    bulk.apply(CANCEL, filters, asks_if=not bulk.ids or STDIN in bulk.ids)


@taking(waiting_filters)
@taking(bulk, "bulk")
def retry(filters: WaitingFilters, bulk: Bulk) -> None:
    """Try messages now that wait for their next attempt, or for a delay that was asked for.

    A destination that is held or left alone stays so: `dispatcher destinations retry` tries it.
    """
    bulk.apply(RETRY, filters, asks_if=bulk.everything)


@taking(waiting_filters)
@taking(bulk, "bulk")
def dead_letter(filters: WaitingFilters, bulk: Bulk) -> None:
    """Move messages to the dead letters: from there they can be redriven.

    Those that are in flight are left alone.
    """
    bulk.apply(DEAD_LETTER, filters, asks_if=bulk.everything)


@taking(waiting_filters)
@taking(bulk, "bulk")
def redirect(to: To, filters: WaitingFilters, bulk: Bulk) -> None:
    """Send messages to another destination, under their ids and with fresh attempts.

    Those that are in flight are left alone.
    """
    bulk.apply(replace(REDIRECT, more=(("to", to),)), filters, asks_if=bulk.everything)


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
