"""`dispatcher` as a whole: its help, its own options, and the table of its commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dispatcher.build import described
from dispatcher.cli.errors import INTERRUPTED
from dispatcher.cli.groups import AllCommands

_EXIT_CODES = """\b
Exit codes:
  0    it is done
  1    anything else
  2    the command or a setting is wrong
  3    serve: a port is taken
  4    serve, log: another process uses the log; serve: NODE is taken
  5    serve, log: the log is damaged
  6    there is no such message, call, job or dead letter
  7    the API or the listener cannot be reached
  8    the key is refused
  9    refused now: the message's state or the server does not allow it
  130  interrupted by Ctrl-C

docs/cli.md has an example of every command.
"""


class _Everything(AllCommands):
    """All commands. Being interrupted is no error."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Everything,
    name="dispatcher",
    help="A durable HTTP dispatcher. `serve` starts it. Settings come from the environment and the "
    "TOML file named by DISPATCHER_CONFIG.",
    epilog=_EXIT_CODES,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(described())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version, and whether the hot path is compiled.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """A durable HTTP dispatcher. Settings come from the environment and the TOML file named by
    DISPATCHER_CONFIG."""
