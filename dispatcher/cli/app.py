"""The commands and their options, as `dispatcher --help` shows them."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dispatcher import __version__
from dispatcher.build import described
from dispatcher.cli import (
    MAKE_KEY,
    backup,
    calls,
    calls_tail,
    config,
    dead,
    destinations,
    keys,
    log,
    login,
    messages,
    output,
    outside,
    schedules,
    send,
    stats,
    tail,
    top,
)
from dispatcher.cli.carrying import commands as carrying
from dispatcher.cli.errors import INTERRUPTED
from dispatcher.cli.local import init as local_init
from dispatcher.cli.local import run as local_run
from dispatcher.cli.options import AsJson

_EXIT_CODES = """\b
Exit codes:
  0    it is done
  1    anything else
  2    the command or a setting is wrong
  3    serve: a port is taken
  4    serve, log: another process uses the log
  5    serve, log: the log is damaged
  6    there is no such message, call or dead letter
  7    the API or the listener cannot be reached
  8    the key is refused
  9    refused now: the message's state or the server does not allow it
  130  interrupted by Ctrl-C

docs/cli.md has an example of every command.
"""


class _Commands(TyperGroup):
    """All commands. Being interrupted is no error."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    name="dispatcher",
    help="A durable HTTP dispatcher. `serve` starts it. Settings come from the environment and the "
    "TOML file named by DISPATCHER_CONFIG.",
    epilog=_EXIT_CODES,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
letters = typer.Typer(help="Look at dead letters, send them again, or throw them away.")
functions = typer.Typer(help="Look at calls of functions, and end them.")
planned = typer.Typer(help="Make calls of functions at their times, and look at that.")
promises = typer.Typer(help="Complete promises that calls wait for.")
channels = typer.Typer(help="Send values to calls that wait at a channel.")


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


@app.command()
def serve(
    make_key: Annotated[
        bool,
        typer.Option(
            MAKE_KEY, help="Make a key in the file API_KEYS_FILE first, if there is no such file."
        ),
    ] = False,
) -> None:
    """Run the server until SIGTERM or SIGINT."""
    # `main` runs it without coming here, so that a start does not load the parser: what comes here
    # is `--help`.
    from dispatcher.cli.serve import serve as run_server

    raise typer.Exit(run_server(make_key=make_key))


def _examples(*lines: str) -> str:
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


app.command(
    epilog=_examples(
        "dispatcher run -- python app.py",
        "dispatcher run --session shop --reload -- python app.py",
        "dispatcher run --endpoint 127.0.0.1:8000 -- uvicorn app:web --port 8000",
    ),
    context_settings={"allow_interspersed_args": False},
)(local_run.run)
app.command(epilog=_examples("dispatcher init hello"))(local_init.init)


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        output.print_json({"version": __version__})
    else:
        print(__version__)


app.command(epilog=_examples("dispatcher login https://dispatcher.example.com"))(login.login)
app.command()(login.logout)
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
    epilog=_examples("dispatcher backup /mnt/backups/2026-01-31"),
)(backup.backup)
app.command(
    epilog=_examples("dispatcher restore /mnt/backups/2026-01-31"),
)(backup.restore)
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
app.command()(destinations.hold)
app.command("pause", hidden=True)(destinations.hold)  # its older name
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

functions.command("list", epilog=_examples("dispatcher calls list --state suspended --roots"))(
    calls.list_
)
functions.command(epilog=_examples("dispatcher calls show 0000018f3c5a800000019f8a1b2c"))(
    calls.show
)
functions.command(
    epilog=_examples(
        "dispatcher calls cancel 0000018f3c5a800000019f8a1b2c",
        "dispatcher calls list --function import_all --json --limit 0 | jq -r .id | "
        "xargs dispatcher calls cancel --kill",
    )
)(calls.cancel)
functions.command(epilog=_examples("dispatcher calls tail --function charge"))(calls_tail.tail)
planned.command("list")(schedules.list_)
planned.command()(schedules.show)
planned.command(
    epilog=_examples(
        "dispatcher schedules put nightly --cron '30 2 * * *' --timezone Europe/Berlin "
        "--endpoint https://app.example --function clean_up",
        "dispatcher schedules put reports --cron '0 9 * * MON' --endpoint https://app.example "
        "--function report --input '{\"days\": 7}' --overlap skip",
    )
)(schedules.put)
planned.command()(schedules.delete)
planned.command()(schedules.run)
planned.command()(schedules.pause)
planned.command()(schedules.resume)
promises.command(
    epilog=_examples(
        "dispatcher promises resolve order-7 --value '{\"paid\": true}'",
        "dispatcher promises resolve order-7 --error 'The card was refused.' --error-type Refused",
        "dispatcher promises resolve order-7 --application shop",
    )
)(outside.resolve)
channels.command(epilog=_examples("dispatcher channels send orders --value 7"))(outside.send)

app.command(
    epilog=_examples(
        "dispatcher export everything.ndjson",
        "dispatcher export --state dead --destination https://example.com - | gzip > dead.gz",
    )
)(carrying.export)
app.command(
    "import",
    epilog=_examples(
        "dispatcher import everything.ndjson",
        "dispatcher import old/transaction.log",
        "dispatcher import everything.ndjson --from-line 5001",
    ),
)(carrying.import_)

app.add_typer(letters, name="dead", no_args_is_help=True)
app.add_typer(functions, name="calls", no_args_is_help=True)
app.add_typer(planned, name="schedules", no_args_is_help=True)
app.add_typer(promises, name="promises", no_args_is_help=True)
app.add_typer(channels, name="channels", no_args_is_help=True)
app.add_typer(config.app, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(log.app, name="log")
