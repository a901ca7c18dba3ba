"""`dispatcher config`: every setting in force, and where it came from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import typer

from dispatcher.cli import output
from dispatcher.cli.options import AsJson

app = typer.Typer(
    help="Show every setting in force, and where it came from. Secrets are hidden.",
    invoke_without_command=True,
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
    output.print_table(("setting", "value", "source"), rows)


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
    from dispatcher.settings.sources import CONFIG_VARIABLE, EnvironmentSource, TomlSource

    path = os.environ.get(CONFIG_VARIABLE, "").strip()
    described = Settings.load(os.environ).describe()
    environment = EnvironmentSource(Settings, os.environ)()
    file = TomlSource(Settings, path)()
    for name, value in described.items():
        if name in environment:
            source = "environment"
        else:
            source = f"file {path}" if name in file else "default"
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
