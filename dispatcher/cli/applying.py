"""Doing something to many as a person sees it: a question, a bar, and what came of it."""

from __future__ import annotations

import sys
from typing import Final

from dispatcher.cli import batches, following, output
from dispatcher.cli.batches import Progress, Verb
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import BadUsage, CommandError, NotFound
from dispatcher.cli.selection import Matching, Selection

_MOST_NAMED: Final = 100


def apply(
    api: Api,
    verb: Verb,
    selection: Selection,
    *,
    rate: int | str | None,
    dry_run: bool,
    must_ask: bool,
    as_json: bool,
) -> None:
    """Do something to a selection of dead letters or messages, and print what came of it.

    Args:
        api: whom to ask.
        verb: what to do.
        selection: to which.
        rate: how many at most, as the API takes it; None: as fast as it goes.
        dry_run: count, and change nothing.
        must_ask: ask the person first.
        as_json: print one document.

    Raises:
        BadUsage: nobody can be asked.
        CommandError: the answer was no, the API refused, or some could not be done.
    """
    if must_ask and not dry_run and not output.is_terminal(sys.stdin):
        raise BadUsage(
            f"nobody can be asked here: `{verb.group} {verb.name}` needs --yes, or --dry-run"
        )
    with following.bar("counted") as counted:
        found = batches.count(api, verb, selection, counted)
    if dry_run:
        _report(verb, found, selection, dry_run=True, as_json=as_json)
        return
    if must_ask and found.count and not _agrees(verb, found.count):
        raise CommandError("nothing was changed")
    progress = Progress()
    try:
        with following.bar(verb.word) as told:
            batches.run(api, verb, selection, progress=progress, told=told, rate=rate)
    except (KeyboardInterrupt, CommandError):
        if progress.count:
            output.print_note(
                f"{_some(verb, progress.count)} {_were(progress.count)} {verb.word} before this; "
                "the same command goes on with the others."
            )
        raise
    _report(verb, progress, selection, dry_run=False, as_json=as_json)


def _agrees(verb: Verb, count: int) -> bool:
    for_good = " for good" if verb.is_for_good else ""
    print(
        f"{verb.name.capitalize()} {_some(verb, count)}{for_good}? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _report(
    verb: Verb, progress: Progress, selection: Selection, *, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        told: Json = {
            verb.done: progress.count,
            "not_found": progress.not_found,
            "dry_run": dry_run,
        }
        told |= progress.others
        output.print_json({**told, "left": progress.left} if progress.left else told)
    elif dry_run:
        print(f"{_some(verb, progress.count)} would be {verb.word}. Nothing was changed.")
    else:
        print(f"{_some(verb, progress.count)} {_were(progress.count)} {verb.word}.")
    if not as_json:
        _print_others(verb, progress)
    if progress.left:
        for message_id, why in list(progress.left.items())[:_MOST_NAMED]:
            output.print_note(f"{message_id}: {why}")
        raise CommandError(
            f"{_some(verb, len(progress.left))} could not be {verb.word}"
            + (f"; the first {_MOST_NAMED} are named" if len(progress.left) > _MOST_NAMED else "")
        )
    # Those that were selected by a filter and are gone meanwhile were dealt with by somebody else.
    if progress.not_found and not isinstance(selection, Matching):
        missing = ", ".join(map(output.clean, progress.not_found[:10]))
        more = ", …" if len(progress.not_found) > 10 else ""
        what = "no dead letters" if verb.noun == "dead letter" else "they do not wait"
        raise NotFound(f"{what}: {missing}{more}")


def _print_others(verb: Verb, progress: Progress) -> None:
    for name, said in verb.others:
        count = progress.others.get(name, 0)
        if count:
            print(f"{count} {_were(count)} {said}.")


def _some(verb: Verb, count: int) -> str:
    return output.plural(count, verb.noun)


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
