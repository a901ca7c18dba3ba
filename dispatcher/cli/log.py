"""`dispatcher log`: look into a transaction log, and repair it. Works while no server does.

`verify` and `dump` need no lock and change nothing, so they also work beside a running server.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from dispatcher.errors import LogCorrupt, LogError
from dispatcher.settings import Settings
from dispatcher.txlog import inspect
from dispatcher.txlog.disk import RealDisk
from dispatcher.txlog.frame import offset_of, segment_of
from dispatcher.txlog.holes import Loss
from dispatcher.txlog.repair import Plan
from dispatcher.txlog.scan import Damage, Found
from dispatcher.txlog.segment import Sizes, name_of

_DISK: Final = RealDisk()
_SIZES: Final = Sizes()

app = typer.Typer(help="Look into a transaction log, and repair it.", no_args_is_help=True)

PathOption = Annotated[
    Path | None,
    typer.Option(
        help="The log's directory. Default: the setting TRANSACTION_LOG.", show_default=False
    ),
]


def _directory(path: Path | None) -> Path:
    return Settings.load(os.environ).transaction_log if path is None else path


@app.command()
def verify(path: PathOption = None) -> None:
    """Read the whole log and say whether it is intact.

    Changes nothing and may run beside a server. Exit code 0: intact, or nothing but a torn tail; 5:
    damaged.
    """
    directory = _directory(path)
    result = inspect.verify(directory, _DISK, _SIZES)
    if isinstance(result, Found):
        _show_found(directory, result)
        return
    typer.echo(_damage_line(directory, result))
    try:
        rest = inspect.plan(directory, _DISK, _SIZES).losses
    except LogError as error:
        typer.echo(str(error))
    else:
        for loss in rest:
            if (loss.damage.number, loss.damage.offset) != (result.number, result.offset):
                typer.echo(_damage_line(directory, loss.damage))
        typer.echo("`dispatcher log repair` says what a repair would lose, and changes nothing.")
    raise typer.Exit(LogCorrupt.exit_code)


@app.command()
def repair(
    path: PathOption = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it. Without, nothing is changed.")
    ] = False,
) -> None:
    """Say what a repair of a damaged log would lose; with --apply, do it.

    Each segment that is changed is copied first. Exit code 4: the log is in use; 1: it cannot be
    repaired.
    """
    directory = _directory(path)
    if not apply:
        planned = inspect.dry_run(directory, _DISK, _SIZES)
        _show_plan(directory, planned, "would be lost")
        if planned.patches:
            typer.echo("Nothing was changed. --apply does it, and keeps a copy of what it changes.")
        return
    planned, copies = inspect.repair(directory, _DISK, _SIZES)
    _show_plan(directory, planned, "were lost")
    for copy in copies:
        typer.echo(f"{copy}: the segment as it was")
    if planned.patches:
        typer.echo(f"{directory}: repaired")


@app.command()
def dump(
    path: PathOption = None,
    payload: Annotated[bool, typer.Option("--payload", help="Show the payloads in hex.")] = False,
) -> None:
    """Print a line for each frame, up to the end of the log or its first damage (exit code 5).

    Changes nothing and may run beside a server.
    """
    damaged = False
    for line in inspect.dump(_directory(path), _DISK, _SIZES):
        typer.echo(inspect.describe(line))
        if payload and line.payload:
            typer.echo(f"    {line.payload.hex()}")
        damaged = line.damaged
    if damaged:
        raise typer.Exit(LogCorrupt.exit_code)


def _show_found(directory: Path, found: Found) -> None:
    segments = found.active - segment_of(found.first) + 1
    typer.echo(
        f"{directory}: intact: {_count(found.chain.records, 'record')} in"
        f" {_count(segments, 'segment')},"
        f" up to offset {offset_of(found.end)} of {name_of(found.active)}"
    )
    for piece in found.remains:
        if piece.torn:
            typer.echo(
                f"{directory / name_of(piece.number)}: a torn tail of {len(piece.data)} bytes at"
                f" offset {piece.offset}: the next start cuts it off and keeps a copy."
                " Nobody was told that it was stored."
            )


def _show_plan(directory: Path, planned: Plan, verb: str) -> None:
    for loss in planned.losses:
        typer.echo(_damage_line(directory, loss.damage))
        typer.echo(f"    {_loss(loss)} {verb}")
    if planned.losses:
        typer.echo("And then:")
    else:
        typer.echo(f"{directory}: there is nothing to repair")
    _show_found(directory, planned.found)


def _loss(loss: Loss) -> str:
    if loss.records is None:
        return f"an unknown number of records, {loss.size_bytes} bytes,"
    return f"at most {_count(loss.records, 'record')}, {loss.size_bytes} bytes,"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _damage_line(directory: Path, damage: Damage) -> str:
    path = directory / name_of(damage.number)
    return f"{path}: damaged at offset {damage.offset}: {damage.reason}"
