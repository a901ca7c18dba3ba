"""Redriving and purging as a person sees it: a question, a bar, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from dispatcher.cli import batches, output
from dispatcher.cli.batches import PURGE, Progress, Verb
from dispatcher.cli.client import Api
from dispatcher.cli.errors import BadUsage, CommandError, NotFound
from dispatcher.cli.selection import Matching, Selection

_MOST_NAMED: Final = 100


def apply(
    api: Api,
    verb: Verb,
    selection: Selection,
    *,
    rate: int | None,
    dry_run: bool,
    must_ask: bool,
    as_json: bool,
) -> None:
    """Do something to a selection of dead letters, and print what came of it.

    Args:
        api: whom to ask.
        verb: what to do.
        selection: to which.
        rate: how many a second at most; None: as fast as it goes.
        dry_run: count, and change nothing.
        must_ask: ask the person first.
        as_json: print one document.

    Raises:
        BadUsage: nobody can be asked.
        CommandError: the answer was no, the API refused, or some could not be done.
    """
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
        output.print_json({**told, "left": progress.left} if progress.left else told)
    elif dry_run:
        print(f"{_letters(progress.count)} would be {verb.done}. Nothing was changed.")
    else:
        print(f"{_letters(progress.count)} {_were(progress.count)} {verb.done}.")
    if progress.left:
        for message_id, why in list(progress.left.items())[:_MOST_NAMED]:
            output.print_note(f"{message_id}: {why}")
        raise CommandError(
            f"{_letters(len(progress.left))} could not be {verb.done}"
            + (f"; the first {_MOST_NAMED} are named" if len(progress.left) > _MOST_NAMED else "")
        )
    # Those that were selected by a filter and are gone meanwhile were dealt with by somebody else.
    if progress.not_found and not isinstance(selection, Matching):
        missing = ", ".join(map(output.clean, progress.not_found[:10]))
        more = ", …" if len(progress.not_found) > 10 else ""
        raise NotFound(f"no dead letters: {missing}{more}")


def _letters(count: int) -> str:
    return output.plural(count, "dead letter")


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
