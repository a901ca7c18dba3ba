"""`dispatcher login` and `logout`: which API the other commands talk to, and with which key."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from dispatcher.cli import logins, output, where
from dispatcher.cli.address import Server
from dispatcher.cli.client import Api
from dispatcher.cli.errors import KeyRefused
from dispatcher.cli.logins import Login

_LOOK: Final = "/v1/calls"
"""What a key of every role may look at."""

ApiUrl = Annotated[str, typer.Argument(metavar="URL", help="Where the API is.")]
KeyOf = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="A file with the key in it. Else it is asked for, or read from standard input where "
        "that is no terminal.",
        show_default=False,
    ),
]


def login(url: ApiUrl, key_file: KeyOf = None) -> None:
    """Keep address and key of an API, for the commands that talk to one.

    The key is tried first. An API without keys is not asked for one.
    """
    server = where.trusting(Server.parse(url, "URL"))
    key = _key(server, key_file)
    _try(server, key)
    logins.save(Login(server, key))
    if key is not None and server.scheme == "http" and not where.is_loopback(server.host):
        output.print_note(f"{server} is not encrypted: everybody on the way can read the key.")
    print(f"Commands talk to {server} now. `dispatcher logout` ends it.")


def logout() -> None:
    """Forget the address and the key that `login` has kept."""
    print("The key is forgotten." if logins.forget() else "There is no login.")


def _key(server: Server, key_file: Path | None) -> str | None:
    if key_file is not None:
        return where.key_in(key_file)
    if sys.stdin is not None and not sys.stdin.isatty():
        return where.checked_key(sys.stdin.readline().strip(), "standard input") or None
    try:
        _try(server, None)
    except KeyRefused:
        return where.checked_key(getpass.getpass(f"Key for {server}: ").strip(), "the key") or None
    return None


def _try(server: Server, key: str | None) -> None:
    """Raises a `CommandError` where it cannot be used."""
    try:
        Api(server, key).get(_LOOK, {"limit": 1})
    except KeyRefused as error:
        said = "asks for a key" if key is None else "does not take this key"
        raise KeyRefused(f"{server} {said}: it has to be one of its API_KEYS.") from error
