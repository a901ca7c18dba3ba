"""The commands and their options, as `dispatcher --help` shows them."""

from __future__ import annotations

import os

import typer

from dispatcher import __version__
from dispatcher.cli import log
from dispatcher.cli.serve import serve as run_server
from dispatcher.settings import Settings

app = typer.Typer(
    name="dispatcher",
    help="A durable HTTP dispatcher. Without a command it serves. Settings come from the "
    "environment and the TOML file named by DISPATCHER_CONFIG.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config = typer.Typer(help="Look at the settings.", no_args_is_help=True)
app.add_typer(config, name="config")
app.add_typer(log.app, name="log")


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Serve when no command is given."""
    if context.invoked_subcommand is None:
        serve()


@app.command()
def serve() -> None:
    """Run the server until SIGTERM or SIGINT."""
    raise typer.Exit(run_server())


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@config.command("check")
def check() -> None:
    """Print the settings in force.

    Secrets are hidden. The exit code is 2 when a setting is wrong.
    """
    for name, value in Settings.load(os.environ).describe().items():
        typer.echo(f"{name}={_shown(value)}")


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list():
            return ",".join(str(item) for item in value)
        case _:
            return str(value)
