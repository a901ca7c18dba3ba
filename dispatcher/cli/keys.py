"""`dispatcher keys`: the keys that sign what applications are sent.

Reads and writes the file of the setting SIGNING_KEY; also beside a running server.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dispatcher.cli import output
from dispatcher.cli.errors import RefusedNow
from dispatcher.cli.options import AsJson
from dispatcher.errors import Refused

if TYPE_CHECKING:  # cryptography takes a while to load
    from dispatcher.functions.signing.file import SigningKeyFile
    from dispatcher.functions.signing.keys import PublicKey, SigningKeys

app = typer.Typer(
    help="Show and rotate the key that signs runs: SIGNING_KEY.",
    no_args_is_help=True,
)

_RELOAD: Final = "A running server takes it over on SIGHUP, and on its next start."


@app.command()
def show(
    following: Annotated[
        bool, typer.Option("--next", help="Show the second key, which will sign after a rotation.")
    ] = False,
    pem: Annotated[bool, typer.Option("--pem", help="Print PEM instead of one line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what DISPATCH_VERIFICATION_KEY takes: the public key of the key that signs.

    The key is made when there is none. Works while the server runs.
    """
    file = _file()
    is_new = not file.path.exists()
    keys = file.load()
    if is_new:
        # In another directory than the server's this is a key that the server never signs with.
        output.print_note(
            f"{file.path.absolute()} was missing and is made: a new key. It is a server's only if "
            "that server's SIGNING_KEY is this file; else run this in the server's directory, with "
            "its settings, and remove the file."
        )
    if as_json:
        _print_json(keys)
        return
    if following and len(keys.public) < 2:
        raise RefusedNow("there is one key only: `dispatcher keys rotate` makes the second")
    _print(keys.public[int(following)], pem=pem)


@app.command()
def rotate(
    finish: Annotated[
        bool,
        typer.Option(
            "--finish", help="Drop the first key: from then on the second signs, and alone."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a second key, and print its public key.

    The first key signs until `--finish`, and an application that has the second one already is
    sent its runs signed with that. So give the second one to applications, one after the other, and
    finish when all have it.
    """
    file = _file()
    try:
        keys = file.finish() if finish else file.rotate()
    except Refused as error:
        raise RefusedNow(str(error)) from error
    if as_json:
        _print_json(keys)
    else:
        _print(keys.public[-1], pem=False)
        now = "This key signs now." if finish else "The first key signs until `--finish`."
        output.print_note(f"{now} {_RELOAD}")


def _file() -> SigningKeyFile:
    from dispatcher.functions.signing.file import SigningKeyFile
    from dispatcher.settings import Settings

    return SigningKeyFile(Settings.load(os.environ).signing_key)


def _print(key: PublicKey, *, pem: bool) -> None:
    print(key.pem if pem else key.base64, end="" if pem else "\n")


def _print_json(keys: SigningKeys) -> None:
    output.print_json(
        {
            "keys": [
                {"id": key.id, "public_key": key.base64, "pem": key.pem, "signs": place == 0}
                for place, key in enumerate(keys.public)
            ]
        }
    )
