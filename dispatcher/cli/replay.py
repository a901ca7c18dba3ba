"""`dispatcher replay`: send what was delivered once more, out of the history that the log keeps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from dispatcher.cli import completing, output, tables, times, where
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import BadUsage, CommandError, RefusedNow, Unreachable
from dispatcher.cli.options import AsJson, KeyFile, Url
from dispatcher.cli.tables import Column
from dispatcher.core.rate import RATE_EXPECTED, parse_rate

_COLUMNS: Final = (
    Column("destination", is_cut=True),
    Column("messages"),
    Column("size", is_right=True),
)

Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only what was accepted then or later: a span ago such as 2h, or "
        "2026-01-31T12:00:00Z, or a date in UTC.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only what was accepted before it.", show_default=False),
]
DeliveredTo = Annotated[
    str | None,
    typer.Option(
        autocompletion=completing.destinations,
        metavar="DESTINATION",
        help="Only what was delivered there: host[:port] or scheme://host[:port].",
        show_default=False,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(metavar="LABEL", help="Only what has this label.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="Everything that was delivered.")]
To = Annotated[
    str | None,
    typer.Option(
        metavar="HOST",
        help="Send it there instead: host[:port] or scheme://host[:port].",
        show_default=False,
    ),
]
Rate = Annotated[
    str | None,
    typer.Option(
        metavar="N[/UNIT]",
        help="At most N messages a second, or another time: 50, 50/s, 10/1m.",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count, and send nothing.")]
Cursor = Annotated[
    str | None,
    typer.Option(
        metavar="CURSOR",
        help="Go on where a replay broke off, with the same options.",
        show_default=False,
    ),
]


def replay(
    since: Since = None,
    until: Until = None,
    destination: DeliveredTo = None,
    label: Label = None,
    everything: All = False,
    to: To = None,
    rate: Rate = None,
    dry_run: DryRun = False,
    cursor: Cursor = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send what was delivered again, as new messages with new ids.

    The server must keep its history: EVENT_SOURCING=true. What is reported is on disk. The server
    does it as a job: interrupting the command does not end it.
    """
    wanted = request(since, until, destination, label, everything=everything, now=datetime.now(UTC))
    wanted |= {"to": to} if to is not None else {}
    wanted |= {"rate": _rate(rate)} if rate is not None else {}
    wanted |= {"cursor": cursor} if cursor is not None else {}
    wanted |= {"dry_run": True} if dry_run else {}
    told: Json = {}
    try:
        with _progress(dry_run=dry_run) as show:
            for told in _lines(where.api(url, key_file), wanted):
                show(told)
    except (KeyboardInterrupt, Unreachable):
        _say_that_it_goes_on(told, dry_run=dry_run)
        raise
    if told.get("state") != "done":
        _say_how_to_go_on(told, dry_run=dry_run)
        if told.get("state") == "failed":
            raise RefusedNow(f"{told.get('message')} ({told.get('error')})")
        if told.get("state") == "cancelled":
            raise CommandError(f"the replay was cancelled: {told.get('message')}")
        raise Unreachable("the answer was cut short")
    _report(told, dry_run=dry_run, as_json=as_json)


def request(
    since: str | None,
    until: str | None,
    destination: str | None,
    label: str | None = None,
    *,
    everything: bool,
    now: datetime,
) -> Json:
    """What to ask the API for.

    Raises:
        BadUsage: nothing was selected, or all and less than all; or an instant cannot be read.
    """
    given: Json = {}
    if since is not None:
        given["since"] = times.moment(since, "--since", now)
    if until is not None:
        given["until"] = times.moment(until, "--until", now)
    if destination is not None:
        given["destination"] = destination
    if label is not None:
        given["label"] = label
    if everything and given:
        raise BadUsage("--all is everything: leave it out, or the options that say which")
    if not everything and not given:
        raise BadUsage("say which: --since, --until, --destination, --label, or --all")
    return given or {"all": True}


def _rate(text: str) -> str:
    """A bare number is a second's, as `dead redrive` has it."""
    rate = f"{text}/s" if text.isdecimal() else text
    if parse_rate(rate) is None:
        raise BadUsage(f"--rate {text}: expected {RATE_EXPECTED}")
    return rate


def _lines(api: Api, wanted: Json) -> Iterator[Json]:
    with api.ask_lines("/v1/replay", wanted) as lines:
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                raise Unreachable("the answer was cut short") from None
            if not isinstance(told, dict):
                raise CommandError("this is no answer of a dispatcher's API; see --url")
            yield told


def _say_how_to_go_on(told: Json, *, dry_run: bool) -> None:
    if dry_run or "cursor" not in told:
        return
    output.print_note(
        f"Sent again so far: {output.plural(told['messages'], 'message')}. Go on with the same "
        f"options and --cursor {output.clean(told['cursor'])}; a few may be sent twice then."
    )


def _say_that_it_goes_on(told: Json, *, dry_run: bool) -> None:
    """The lines have ended, and not what they are about."""
    if dry_run or "job" not in told:
        return
    job_id = output.clean(told["job"])
    output.print_note(
        f"Job {job_id} goes on, unless the server was stopped. `dispatcher jobs watch {job_id}` "
        f"follows it, `dispatcher jobs cancel {job_id}` ends it."
    )
    output.print_note(
        f"Sent again so far: {output.plural(told['messages'], 'message')}. If it was stopped, go "
        f"on with the same options and --cursor {output.clean(told['cursor'])}."
    )


@contextmanager
def _progress(*, dry_run: bool) -> Iterator[Callable[[Json], None]]:
    """Show how far it is on standard error, where that is a terminal; why it waits, anywhere."""
    verb = "counted" if dry_run else "sent again"
    said: list[str] = []

    def tell(told: Json) -> None:
        if told["state"] == "waiting" and told["error"] not in said:
            said.append(told["error"])
            output.print_note(f"It waits: {told['message']} ({told['error']})")

    if not output.is_terminal(sys.stderr):
        yield tell
        return
    from rich import progress as rich_progress

    bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        console=output.console(sys.stderr),
        transient=True,
    )
    with bar:
        task = bar.add_task(verb, total=None)

        def show(told: Json) -> None:
            tell(told)
            bar.update(
                task,
                total=told["log_bytes"],
                completed=told["read_bytes"],
                description=f"{told['messages']} {verb}",
            )

        yield show


def _report(told: Json, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.print_json(told | {"dry_run": dry_run})
    else:
        if dry_run and told["destinations"]:
            tables.print_table(_COLUMNS, [_row(one) for one in told["destinations"]])
        what = f"{output.plural(told['messages'], 'message')} ({output.size(told['size_bytes'])})"
        if told["messages"]:
            first, last = (output.instant(told[f"{n}_accepted_at"]) for n in ("first", "last"))
            what += f", accepted from {first} to {last},"
        if dry_run:
            print(f"{what} would be sent again. Nothing was sent.")
        else:
            print(f"{what} sent again.")
    if told["unreadable"]:
        raise CommandError(
            f"{output.plural(told['unreadable'], 'message')} cannot be read; `dispatcher log "
            "verify` says what is damaged"
        )


def _row(one: Json) -> tuple[object, ...]:
    return one["destination"], one["messages"], output.size(one["size_bytes"])
