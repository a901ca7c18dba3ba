"""`dispatcher log`: look into a transaction log, and repair it. Works while no server does.

`verify` and `dump` need no lock and change nothing, so they also work beside a running server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.options import AsJson

app = typer.Typer(help="Look into a transaction log, and repair it.", no_args_is_help=True)

PathOption = Annotated[
    Path | None,
    typer.Option(
        help="The log's directory. Default: the setting TRANSACTION_LOG.", show_default=False
    ),
]


@app.command()
def verify(path: PathOption = None, as_json: AsJson = False) -> None:
    """Read the whole log and say whether it is intact.

    Changes nothing and may run beside a server. Exit code 0: intact, or nothing but a torn tail; 5:
    damaged.
    """
    from dispatcher.cli import log_report

    raise typer.Exit(log_report.verify(path, as_json=as_json))


@app.command()
def repair(
    path: PathOption = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it. Without, nothing is changed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a repair of a damaged log would lose; with --apply, do it.

    Each segment that is changed is copied first. Exit code 4: the log is in use; 1: it cannot be
    repaired.
    """
    from dispatcher.cli import log_report

    log_report.repair(path, apply=apply, as_json=as_json)


@app.command()
def dump(
    path: PathOption = None,
    payload: Annotated[bool, typer.Option("--payload", help="Show the payloads in hex.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a line for each frame, up to the end of the log or its first damage (exit code 5).

    Changes nothing and may run beside a server.
    """
    from dispatcher.cli import log_report

    raise typer.Exit(log_report.dump(path, payload=payload, as_json=as_json))
