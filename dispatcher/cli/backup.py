"""`dispatcher backup` and `restore`: copies of the logs, and back.

A backup is made by the server; this asks how far it is. A restore needs no server, and must not
have one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from dispatcher.cli import output, where
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import CommandError
from dispatcher.cli.options import AsJson, KeyFile, Url

_LOOK_SECONDS: Final = 0.25

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="The directory of the backup.", show_default=False)
]
Told = Callable[[int, int], object]


def backup(
    directory: Directory, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Copy the logs, as they are now, into a directory that is new or empty.

    The server goes on meanwhile. The directory is one of the server's machine. Interrupting the
    command stops the backup, and removes what there is of it.
    """
    api = where.api(url, key_file)
    begun = api.post("/v1/backup", {"directory": str(Path(os.path.abspath(directory)))})
    try:
        made = _watch(api, begun)
    except KeyboardInterrupt:
        if _is_same(begun, api.get("/v1/backup")):
            api.delete("/v1/backup")
        raise
    if made.get("state") != "made":
        raise CommandError(str(made.get("error") or "the backup was stopped"))
    if as_json:
        output.print_json(made)
        return
    name, size = output.clean(made.get("directory")), output.size(int(made.get("total_bytes", 0)))
    print(f"{name}: a backup of the logs, {size}, as they were at {made.get('started_at')}.")


def _watch(api: Api, begun: Json) -> Json:
    """Ask how far it is until it has ended.

    Raises:
        CommandError: nobody knows how it ended: another one was begun, or the server restarted.
    """
    made = begun
    with _progress("copying") as told:
        while made.get("state") == "running":
            told(int(made.get("copied_bytes", 0)), int(made.get("total_bytes", 0)))
            time.sleep(_LOOK_SECONDS)
            made = api.get("/v1/backup")
            if not _is_same(begun, made):
                raise CommandError(
                    "the server knows no longer how this backup ended: another was begun, or it "
                    "was restarted; the backup is whole if there is a backup.json in it"
                )
    return made


def _is_same(one: Json, other: Json) -> bool:
    return all(one.get(name) == other.get(name) for name in ("directory", "started_at"))


def restore(directory: Directory, as_json: AsJson = False) -> None:
    """Copy a backup to where the settings say that the logs are.

    No server may run there, and there must be no logs yet.
    """
    from dispatcher.node.backup.restoring import restore as put_back
    from dispatcher.node.places import audit_of, results_of
    from dispatcher.settings import Settings

    settings = Settings.load(os.environ)
    targets = (settings.transaction_log, settings.dead_letter)
    with _progress("restoring") as told:
        manifest = put_back(directory, *targets, told=told)
    names = [str(target) for target in targets]
    if manifest.results is not None:
        names.append(str(results_of(targets[0])))
    if manifest.audit is not None:
        names.append(str(audit_of(targets[0])))
    if as_json:
        output.print_json({"made_at": manifest.made_at, "logs": names})
        return
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    print(f"{listed} are as they were at {manifest.made_at}.")


@contextmanager
def _progress(doing: str) -> Iterator[Told]:
    """Show a bar on a terminal, and nothing elsewhere."""
    if not output.is_terminal(sys.stderr):
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(*columns, console=output.console(sys.stderr), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
