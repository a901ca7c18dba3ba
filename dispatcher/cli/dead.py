"""`dispatcher dead`: look at dead letters, send them again, or throw them away."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import batches, output, where
from dispatcher.cli.batches import PURGE, REDRIVE, Progress, Verb
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import BadUsage, CommandError, NotFound
from dispatcher.cli.options import (
    AfterFilter,
    All,
    AsJson,
    BeforeFilter,
    DestinationFilter,
    DryRun,
    ErrorFilter,
    KeyFile,
    OlderThan,
    StatusFilter,
    Url,
    Yes,
)
from dispatcher.cli.selection import STDIN, Filters, Matching, Selection, read_ids, select

_PAGE: Final = 1000
_LIST_COLUMNS: Final = ("id", "died", "destination", "request", "attempts", "cause", "size")
_GROUP_COLUMNS: Final = ("destination", "cause", "reason", "count", "size", "oldest", "newest")
_HISTORY_COLUMNS: Final = ("attempt", "started", "ms", "status", "error")
_SHOWN_CHARACTERS: Final = 2000

LetterId = Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id.")]
SomeIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Which; '-' reads ids from standard input."),
]
Limit = Annotated[int, typer.Option(min=0, help="How many at most; 0: all of them.")]
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
    destination: DestinationFilter = None,
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
    filters = _filters(destination, status, error, before, after, older_than)
    letters = _Letters(where.api(url, key_file), filters, limit)
    if as_json:
        for letter in letters:
            output.print_json(letter)
    else:
        output.print_table(_LIST_COLUMNS, [_list_row(letter) for letter in letters])
    if letters.has_more:
        output.print_note(f"There are more than {limit}: --limit 0 shows all of them.")


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
        _show(letter)


def groups(
    destination: DestinationFilter = None,
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
    filters = _filters(destination, status, error, before, after, older_than)
    found = where.api(url, key_file).get("/v1/dead-letters/groups", filters.given())["items"]
    if as_json:
        for group in found:
            output.print_json(group)
        return
    output.print_table(_GROUP_COLUMNS, [_group_row(group) for group in found])


def redrive(
    ids: SomeIds = None,
    destination: DestinationFilter = None,
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
    filters = _filters(destination, status, error, before, after, older_than)
    selection = select(_ids(ids), filters, everything=everything)
    _apply(
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
    destination: DestinationFilter = None,
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
    filters = _filters(destination, status, error, before, after, older_than)
    selection = select(_ids(ids), filters, everything=everything)
    _apply(
        where.api(url, key_file),
        PURGE,
        selection,
        rate=None,
        dry_run=dry_run,
        must_ask=not yes,
        as_json=as_json,
    )


def _filters(
    destination: str | None,
    status: int | None,
    error: str | None,
    before: str | None,
    after: str | None,
    older_than: str | None,
) -> Filters:
    return Filters.read(
        destination,
        status,
        error,
        before=before,
        after=after,
        older_than=older_than,
        now=datetime.now(UTC),
    )


def _ids(given: list[str] | None) -> list[str]:
    if given != [STDIN]:
        return given or []
    found = read_ids(sys.stdin)
    if not found:
        raise BadUsage("standard input: no ids in it")
    return found


class _Letters:
    """Dead letters, page after page, up to a limit. `has_more` is right once they are read."""

    def __init__(self, api: Api, filters: Filters, limit: int) -> None:
        self._api = api
        self._filters = filters
        self._limit = limit
        self.has_more = False

    def __iter__(self) -> Iterator[Json]:
        cursor: str | None = None
        left = self._limit
        while True:
            size = min(_PAGE, left) if self._limit else _PAGE
            query = {**self._filters.given(), "limit": size, "cursor": cursor}
            page = self._api.get("/v1/dead-letters", query)
            yield from page["items"]
            cursor = page["next"]
            left -= len(page["items"])
            if cursor is None or (self._limit and left <= 0):
                self.has_more = cursor is not None
                return


def _apply(
    api: Api,
    verb: Verb,
    selection: Selection,
    *,
    rate: int | None,
    dry_run: bool,
    must_ask: bool,
    as_json: bool,
) -> None:
    if must_ask and not dry_run and not output.is_terminal(sys.stdin):
        raise BadUsage(f"nobody can be asked here: `dead {verb.name}` needs --yes, or --dry-run")
    found = batches.count(api, verb, selection)
    if dry_run:
        _report(verb, found, selection, dry_run=True, as_json=as_json)
        return
    if must_ask and found.count and not _agrees(verb, found.count):
        raise CommandError("nothing was changed")
    progress = Progress()
    try:
        with _bar(verb, found.count) as advance:
            batches.run(
                api,
                verb,
                selection,
                expected=found.count,
                progress=progress,
                advance=advance,
                rate=rate,
            )
    except (KeyboardInterrupt, CommandError):
        if progress.count:
            output.print_note(
                f"{_letters(progress.count)} {_were(progress.count)} {verb.done} before this; "
                "the same command goes on with the others."
            )
        raise
    _report(verb, progress, selection, dry_run=False, as_json=as_json)


def _agrees(verb: Verb, count: int) -> bool:
    for_good = " for good" if verb is PURGE else ""
    print(
        f"{verb.name.capitalize()} {_letters(count)}{for_good}? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextmanager
def _bar(verb: Verb, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far it is on standard error, where that is a terminal."""
    if not output.is_terminal(sys.stderr) or total <= batches.BATCH:
        yield lambda _: None
        return
    from rich import progress as rich_progress

    bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
        console=output.console(sys.stderr),
        transient=True,
    )
    with bar:
        task = bar.add_task(verb.done, total=total)
        yield lambda more: bar.advance(task, more)


def _report(
    verb: Verb, progress: Progress, selection: Selection, *, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        told = {verb.done: progress.count, "not_found": progress.not_found, "dry_run": dry_run}
        output.print_json(told)
    elif dry_run:
        print(f"{_letters(progress.count)} would be {verb.done}. Nothing was changed.")
    else:
        print(f"{_letters(progress.count)} {_were(progress.count)} {verb.done}.")
    # Those that were selected by a filter and are gone meanwhile were dealt with by somebody else.
    if progress.not_found and not isinstance(selection, Matching):
        missing = ", ".join(map(output.clean, progress.not_found[:10]))
        more = ", …" if len(progress.not_found) > 10 else ""
        raise NotFound(f"no dead letters: {missing}{more}")


def _letters(count: int) -> str:
    return output.plural(count, "dead letter")


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _list_row(letter: Json) -> tuple[object, ...]:
    return (
        letter["id"],
        output.instant(letter["dead_at"]),
        letter["destination"],
        f"{letter['method']} {letter['target']}",
        letter["attempts"],
        _cause(letter["last_status"], letter["last_error"]),
        output.size(letter["size_bytes"]),
    )


def _group_row(group: Json) -> tuple[object, ...]:
    return (
        group["destination"],
        _cause(group["status"], group["error"]),
        group["reason"],
        group["count"],
        output.size(group["size_bytes"]),
        output.instant(group["oldest"]),
        output.instant(group["newest"]),
    )


def _cause(status: int | None, error: str | None) -> str:
    """A status, the slug of an error, or both where a response broke off."""
    return " ".join(str(part) for part in (status, error) if part is not None) or output.NOTHING


def _show(letter: Json) -> None:
    output.print_record(
        {
            "id": letter["id"],
            "destination": letter["destination"],
            "request": f"{letter['method']} {letter['target']}",
            "accepted": output.instant(letter["accepted_at"]),
            "died": output.instant(letter["dead_at"]),
            "reason": letter["reason"],
            "detail": letter["detail"],
            "redriven before": letter["redrives"],
        }
    )
    print("\nHeaders")
    for name, value in letter["headers"]:
        print(f"  {output.clean(name)}: {output.clean(value)}")
    print(f"\nBody ({output.size(letter['size_bytes'])})")
    _print_text(_body_text(base64.b64decode(letter["body"]), letter["id"]))
    print("\nAttempts")
    output.print_table(_HISTORY_COLUMNS, [_history_row(entry) for entry in letter["history"]])
    if letter["history"] and (start := letter["history"][-1].get("response_start")):
        print("\nStart of the last response")
        _print_text(start)


def _history_row(entry: Json) -> tuple[object, ...]:
    return (
        entry["attempt"],
        output.instant(entry["started_at"]),
        entry["duration_ms"],
        entry["status"],
        entry["error"],
    )


def _body_text(body: bytes, message_id: str) -> str:
    whole = f"`dispatcher dead show {message_id} --body` prints all of it"
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return f"not text; {whole}"
    if len(text) > _SHOWN_CHARACTERS:
        return f"{text[:_SHOWN_CHARACTERS]}\n… {whole}"
    return text


def _print_text(text: str) -> None:
    for line in text.splitlines():
        print(f"  {output.clean(line)}")
