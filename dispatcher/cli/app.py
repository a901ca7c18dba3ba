"""The commands and their options, as `dispatcher --help` shows them."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from dispatcher import __version__
from dispatcher.cli import (
    config,
    dead,
    destinations,
    log,
    messages,
    output,
    send,
    stats,
    tail,
    top,
)
from dispatcher.cli.errors import INTERRUPTED
from dispatcher.cli.options import AsJson

_EXIT_CODES = """\b
Exit codes:
  0    it is done
  1    anything else
  2    the command or a setting is wrong
  3    serve: a port is taken
  4    serve, log: another process uses the log
  5    serve, log: the log is damaged
  6    there is no such message or dead letter
  7    the API or the listener cannot be reached
  8    the key is refused
  9    refused now: the message's state or the server does not allow it
  130  interrupted by Ctrl-C

docs/cli.md has an example of every command.
"""


class _Commands(TyperGroup):
    """All commands. Being interrupted, and a reader that has seen enough, are no errors."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise typer.Exit from None


app = typer.Typer(
    cls=_Commands,
    name="dispatcher",
    help="A durable HTTP dispatcher. Without a command it serves. Settings come from the "
    "environment and the TOML file named by DISPATCHER_CONFIG.",
    epilog=_EXIT_CODES,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
letters = typer.Typer(help="Look at dead letters, send them again, or throw them away.")


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Serve when no command is given."""
    if context.invoked_subcommand is None:
        serve()


@app.command()
def serve() -> None:
    """Run the server until SIGTERM or SIGINT."""
    from dispatcher.cli.serve import serve as run_server  # loads the whole server

    raise typer.Exit(run_server())


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        output.print_json({"version": __version__})
    else:
        print(__version__)


def _examples(*lines: str) -> str:
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


app.command(
    epilog=_examples(
        "dispatcher send https://example.com/hooks -d '{\"a\": 1}' -H 'Content-Type: "
        "application/json'",
        "dispatcher send example.com/upload -X PUT -d @photo.jpg --timeout 60000 --wait",
        "make-report | dispatcher send example.com/reports -d -",
    )
)(send.send)
app.command()(stats.stats)
app.command(
    epilog=_examples("dispatcher top", "dispatcher top --interval 5 --json >> figures.jsonl")
)(top.top)
app.command(
    epilog=_examples(
        "dispatcher tail --kind dead",
        "dispatcher tail --destination https://example.com --json | jq .status",
    )
)(tail.tail)
app.command()(messages.message)
app.command()(messages.explain)
app.command()(messages.cancel)
app.command()(destinations.pause)
app.command()(destinations.resume)

letters.command("list", epilog=_examples("dispatcher dead list --status 404 --older-than 2d"))(
    dead.list_
)
letters.command(
    epilog=_examples(
        "dispatcher dead show 0000018f3c5a7e2b9d4c6f8a1b2c",
        "dispatcher dead show 0000018f3c5a7e2b9d4c6f8a1b2c --body > body.json",
    )
)(dead.show)
letters.command()(dead.groups)
letters.command(
    epilog=_examples(
        "dispatcher dead redrive 0000018f3c5a7e2b9d4c6f8a1b2c",
        "dispatcher dead redrive --destination https://example.com --error timeout --rate 50",
        "dispatcher dead list --json --limit 0 | dispatcher dead redrive -",
        "dispatcher dead redrive --all --dry-run",
    )
)(dead.redrive)
letters.command(
    epilog=_examples(
        "dispatcher dead purge --status 410 --older-than 1w", "dispatcher dead purge --all --yes"
    )
)(dead.purge)

app.add_typer(letters, name="dead", no_args_is_help=True)
app.add_typer(config.app, name="config")
app.add_typer(log.app, name="log")
