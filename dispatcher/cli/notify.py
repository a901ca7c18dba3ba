"""`dispatcher notify`: try out who is told of what goes wrong."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from dispatcher.cli import output, where
from dispatcher.cli.address import Server
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.options import AsJson
from dispatcher.cli.send import ListenerKeyFile, ListenerUrl, Request, post

if TYPE_CHECKING:  # loads pydantic
    from dispatcher.core.rules.notify import Notify

app = typer.Typer(help="Try out who is told of what goes wrong ([[notify]]).", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Try out who is told of what goes wrong ([[notify]])."""


@app.command("test")
def try_out(
    table: Annotated[
        int | None,
        typer.Argument(
            metavar="N", help="The n-th [[notify]] of the file; all.", show_default=False
        ),
    ] = None,
    listener: ListenerUrl = None,
    listener_key_file: ListenerKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send a notification that says it is a test, as a message with the label `notify`, and print
    its id once it is durable. The tables are those of DISPATCHER_CONFIG."""
    from dispatcher.settings import rules

    tables = rules.load(os.environ).notify
    if not tables:
        raise BadUsage("there is no [[notify]]: DISPATCHER_CONFIG names the file that has them")
    if table is not None and not 1 <= table <= len(tables):
        raise BadUsage(f"{table}: expected a number from 1 to {len(tables)}")
    server, key = where.listener(listener, listener_key_file)
    for place, one in enumerate(tables, start=1):
        if table in (None, place):
            (message_id,) = _send(server, key, one)
            if as_json:
                output.print_json({"notify": place, "id": message_id})
            else:
                print(message_id, flush=True)


def _send(server: Server, key: str | None, notify: Notify) -> tuple[str, ...]:
    from dispatcher.core.clock import SystemClock
    from dispatcher.core.rules.notify import Kind
    from dispatcher.node.notifying import wording
    from dispatcher.node.notifying.happening import Happening, State
    from dispatcher.node.notifying.limiter import Told

    happening = Happening(
        Kind.TEST,
        State.HAPPENED,
        SystemClock().now_us(),
        "This is a test: notifications of the dispatcher arrive here.",
    )
    headers = [(name.decode("ascii"), value) for name, value in wording.headers_of(notify)]
    request = Request.read(notify.url.value.decode("ascii"), "POST", (), {"label": wording.LABEL})
    request = Request(request.method, request.origin, request.target, (*request.headers, *headers))
    body = wording.body_of(notify.format, Told(happening), socket.gethostname())
    return tuple(post(server, key, request, body).ids)
