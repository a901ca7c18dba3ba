"""`dispatcher config`: every setting in force, and where it came from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import typer

from dispatcher.cli import output, tables
from dispatcher.cli.options import AsJson
from dispatcher.cli.tables import Column

app = typer.Typer(
    help="Show every setting in force, and where it came from. Secrets are hidden.",
    invoke_without_command=True,
)


_COLUMNS: Final = (
    Column("setting"),
    Column("value", is_cut=True),
    Column("source", is_cut=True),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in force. `source` is environment, default, or file and its path."""

    name: str
    value: object
    source: str


@app.callback()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show every setting in force, and where it came from. Secrets are hidden.

    The exit code is 2 when a setting is wrong.
    """
    if context.invoked_subcommand is not None:
        return
    found = list(in_force())
    if as_json:
        for item in found:
            output.print_json({"setting": item.name, "value": item.value, "source": item.source})
        return
    rows = [(item.name, shown(item.value), item.source) for item in found]
    tables.print_table(_COLUMNS, rows)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Print the settings in force, or what is wrong with them (exit code 2)."""
    found = list(in_force())
    if as_json:
        output.print_json({item.name: item.value for item in found})
        return
    for item in found:
        print(f"{item.name}={shown(item.value)}")


def in_force() -> Iterator[Setting]:
    """Yield every setting.

    Raises:
        ConfigError: one is wrong.
    """
    from dispatcher.settings import Settings
    from dispatcher.settings.misspelt import misspelt
    from dispatcher.settings.sources import CONFIG_VARIABLE, Names, of_environment, of_file

    described = Settings.load(os.environ).describe()
    names = Names.of(Settings)
    for given, meant in misspelt(os.environ, names):
        output.print_note(f"{given} has no meaning; did you mean {meant}?")
    environment = of_environment(os.environ, names)
    file = of_file(os.environ, names)
    for name, value in described.items():
        if name in environment:
            source = "environment"
        elif name in file:
            source = f"file {os.environ[CONFIG_VARIABLE].strip()}"
        else:
            source = "default"
        yield Setting(name, value, source)


def shown(value: object) -> str:
    """Return a value as it would stand in the environment."""
    match value:
        case bool():
            return str(value).lower()
        case list():
            return ",".join(str(item) for item in value)
        case _:
            return str(value)
