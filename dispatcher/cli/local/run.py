"""`dispatcher run`: the options, and what is made of them."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dispatcher.cli import where
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.local import command as commands
from dispatcher.cli.local import session as sessions
from dispatcher.cli.local.backend import Backend
from dispatcher.cli.local.guarding import Guard
from dispatcher.cli.local.happenings import Asked, Happening, Happenings
from dispatcher.cli.local.own_server import OwnServer
from dispatcher.cli.local.ports import HOST
from dispatcher.cli.local.reloading import watch_files
from dispatcher.cli.local.screen import screen
from dispatcher.cli.local.session import Session
from dispatcher.cli.local.supervising import Plan, Supervisor

if TYPE_CHECKING:  # loads protobuf
    from dispatcher.cli.local.bridged import Far

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NAME_BYTES: Final = 8
_ADDRESS: Final = re.compile(r"(?:(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])?:)?(?P<port>\d+)")

Words = Annotated[
    list[str],
    typer.Argument(metavar="-- COMMAND...", help="What starts your application."),
]
SessionName = Annotated[
    str | None,
    typer.Option(
        "--session",
        "-s",
        metavar="NAME",
        help="Keep calls and results under this name, and go on with them. Else they are gone at "
        "the end.",
        show_default=False,
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        "-e",
        metavar="HOST:PORT",
        help="Where the application listens, if not where DISPATCH_ENDPOINT_ADDR says.",
        show_default=False,
    ),
]
ApiUrl = Annotated[
    str | None,
    typer.Option(
        "--api-url",
        metavar="URL",
        help="Let a server that runs already run the calls, through its bridge: it need not reach "
        "this machine.",
        show_default=False,
    ),
]
Reload = Annotated[
    bool,
    typer.Option("--reload", help="Start it anew when a Python file under this directory changes."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file with the key of --api-url. Default: DISPATCH_API_KEY, DISPATCHER_KEY, else "
        "what `login` has kept.",
        show_default=False,
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Let the SDK replay durable functions after each of their runs, and compare. Clocks, "
        "randomness and I/O in them are named without it, too.",
    ),
]


def run(
    command: Words,
    session: SessionName = None,
    endpoint: Endpoint = None,
    api_url: ApiUrl = None,
    key_file: KeyFile = None,
    reload: Reload = False,
    check: Check = False,
) -> None:
    """Run an application beside a server of its own, until Ctrl-C or its end."""
    commands.check(command)
    far = _far(api_url, key_file, session)
    happenings: Happenings = SimpleQueue[Happening]()
    with (
        _signals(happenings),
        # What another server runs is kept there: here is nothing to go on with.
        sessions.opened(
            None if far else session, None if endpoint is None else address(endpoint)
        ) as taken,
    ):
        guard = Guard([taken.lock])
        try:
            if taken.name is None:
                guard.remove(taken.directory)
            if reload:
                watch_files(Path.cwd(), happenings)
            name = commands.name_of(command)
            looks_for = "1" if check else os.environ.get("DISPATCH_CHECK", "watch")
            plan = Plan(command, name, taken.facts.endpoint, reloads=reload, check=looks_for)
            backend = _backend(far, taken, guard, happenings, command)
            code = Supervisor(plan, backend, guard, screen(name), happenings).run()
        finally:
            guard.close()
    raise typer.Exit(code)


def _far(url: str | None, key_file: Path | None, session: str | None) -> Far | None:
    """The server that runs the calls; None: one of its own."""
    if url is None:
        if key_file is not None:
            raise BadUsage("--key-file: is for --api-url; a server of its own has a key of its own")
        return None
    from dispatcher.cli.local.bridged import Far

    name = sessions.checked(session) if session else secrets.token_hex(_NAME_BYTES)
    server, key = where.application(url, key_file)
    return Far(server, key, name)


def _backend(
    far: Far | None, session: Session, guard: Guard, happenings: Happenings, command: list[str]
) -> Backend:
    if far is None:
        return OwnServer(session, guard, happenings, shlex.join(command))
    from dispatcher.cli.local.bridged import Bridged

    return Bridged(far, session.facts.endpoint, happenings, command)


def address(text: str) -> str:
    """Read `host:port`, `:port` or `port`, and return it as `host:port`.

    Raises:
        BadUsage: it is none of them.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise BadUsage(f"--endpoint {text}: expected host:port, such as 127.0.0.1:8000")
    return f"{match['host'] or HOST}:{match['port']}"


@contextmanager
def _signals(happenings: Happenings) -> Iterator[None]:
    """Put signals that ask for the end into the queue. With nohup the end of the terminal is none
    of them."""

    def ask(number: int, frame: FrameType | None) -> None:
        happenings.put(Asked(number))

    is_kept_on = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    taken = [number for number in _SIGNALS if number is not signal.SIGHUP or not is_kept_on]
    before = {number: signal.signal(number, ask) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
