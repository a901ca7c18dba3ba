"""`dispatcher config`: every setting and every rule in force, and where they came from."""

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
    help="Show every setting and rule in force, and where they came from. Secrets are hidden.",
    invoke_without_command=True,
)


_COLUMNS: Final = (
    Column("setting"),
    Column("value", is_cut=True),
    Column("source", is_extra=True, is_cut=True),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in force. `source` is environment, default, or file and its path."""

    name: str
    value: object
    source: str


@app.callback()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show every setting and rule in force, and where they came from. Secrets are hidden.

    The exit code is 2 when a setting or a rule is wrong.
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
    """Print the settings and rules in force, or what is wrong with them or the certificates that
    they name (exit code 2)."""
    from dispatcher.node import certificates
    from dispatcher.settings import Settings

    found = list(in_force())
    for sentence in certificates.check(Settings.load(os.environ)):
        output.print_note(sentence)
    if as_json:
        output.print_json({item.name: item.value for item in found})
        return
    for item in found:
        if isinstance(item.value, dict):
            print(f"{item.name}: {shown(item.value)}")
        else:
            print(f"{item.name}={shown(item.value)}")


def in_force() -> Iterator[Setting]:
    """Yield every setting, and then every rule and group that there is.

    Raises:
        ConfigError: one is wrong.
    """
    from dispatcher.core.keys import Role
    from dispatcher.settings import Settings, loaded
    from dispatcher.settings.misspelt import misspelt
    from dispatcher.settings.misspelt_roles import misspelt_roles
    from dispatcher.settings.rules import described as described_rules
    from dispatcher.settings.sources import CONFIG_VARIABLE, Names, of_environment, of_file

    settings, rules = loaded.load(os.environ)
    names = Names.of(Settings)
    for given, meant in misspelt(os.environ, names):
        output.print_note(f"{given} has no meaning; did you mean {meant}?")
    for key in misspelt_roles(settings):
        hint = f"; did you mean {key.meant}?" if key.meant else f". Roles are {', '.join(Role)}."
        output.print_note(
            f"{key.setting}: {key.key} looks like name:role:secret, but its role does not exist: "
            f"all of it is a secret with role {Role.ADMIN}{hint}"
        )
    for rule, before in rules.unreached():
        output.print_note(
            f"destination {rule.match} is never used: {before.match}, before it, is for all of its "
            "messages. Put the narrower one first."
        )
    environment = of_environment(os.environ, names)
    file = of_file(os.environ, names)
    path = os.environ.get(CONFIG_VARIABLE, "").strip()
    for name, value in settings.describe().items():
        if name in environment:
            source = "environment"
        elif name in file:
            source = f"file {path}"
        else:
            source = "default"
        yield Setting(name, value, source)
    for name, tables_of_name in described_rules(rules).items():
        for place, table in enumerate(tables_of_name, start=1):
            yield Setting(f"{name} {place}", table, f"file {path}")


def shown(value: object) -> str:
    """Return a value as it would stand in the environment, and a table as it would in the file."""
    match value:
        case bool():
            return str(value).lower()
        case list():
            return ",".join(str(item) for item in value)
        case dict():
            return " ".join(f"{key}={_in_toml(item)}" for key, item in value.items())
        case _:
            return str(value)


def _in_toml(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_in_toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_in_toml, value)) + "]"
        case _:
            return str(value)
