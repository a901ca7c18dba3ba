"""`dispatcher promises` and `channels`: values from outside, for calls that wait for them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import output, where
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.options import AsJson, KeyFile, Url

_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_TYPE: Final = "Error"

PromiseName = Annotated[
    str, typer.Argument(metavar="NAME", help="The promise's name: promise:NAME is its endpoint.")
]
ChannelName = Annotated[
    str, typer.Argument(metavar="NAME", help="The channel's name: channel:NAME is its endpoint.")
]
Value = Annotated[
    str | None,
    typer.Option(
        metavar="JSON|@FILE|-",
        help="The value: JSON, a file of JSON, or JSON on standard input.",
        show_default=False,
    ),
]
ErrorText = Annotated[
    str | None,
    typer.Option("--error", metavar="TEXT", help="Fail with this message.", show_default=False),
]
ErrorType = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE", help=f"The type of the error. Default: {_TYPE}.", show_default=False
    ),
]
Application = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Whose it is: the name of the application's API key. Default: that of the key used.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Sent:
    """What is sent: bytes of a media type, which with `error` are the message of an error of that
    type."""

    body: bytes
    kind: str
    error: str | None = None


def resolve(
    name: PromiseName,
    value: Value = None,
    error: ErrorText = None,
    error_type: ErrorType = None,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Complete a promise, with a value (null unless --value) or an error.

    It may be completed before anybody waits for it; the first time counts.
    """
    sent = read(value, error, error_type, needs_one=False)
    _send(["promises", name], sent, application, url, key_file)
    if as_json:
        output.print_json({"promise": name, "resolved": True, "error": sent.error})
    else:
        how = "is resolved" if sent.error is None else "has failed"
        print(f"Promise {output.clean(name)} {how}.")


def send(
    name: ChannelName,
    value: Value = None,
    error: ErrorText = None,
    error_type: ErrorType = None,
    application: Application = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send a value, or an error, to a channel.

    One call that waits at the channel gets it, or the next one that will.
    """
    sent = read(value, error, error_type, needs_one=True)
    _send(["channels", name], sent, application, url, key_file)
    if as_json:
        output.print_json({"channel": name, "sent": True, "error": sent.error})
    else:
        what = "A value" if sent.error is None else "An error"
        print(f"{what} is sent to channel {output.clean(name)}.")


def read(
    value: str | None,
    error: str | None,
    error_type: str | None,
    *,
    needs_one: bool,
    option: str = "--value",
) -> Sent:
    """Make what is sent of what was typed; the value after `option`.

    Raises:
        BadUsage: a value and an error at once, neither where one is needed, or a value that is no
            JSON.
    """
    if value is not None and error is not None:
        raise BadUsage("give --value or --error: it is one of them")
    if error is None and error_type is not None:
        raise BadUsage("--error-type is the type of an error: give its message with --error")
    if error is not None:
        return Sent(error.encode("utf-8", "surrogateescape"), _TEXT, error_type or _TYPE)
    if value is None and needs_one:
        raise BadUsage("say what is sent: --value JSON, or --error TEXT")
    body = b"null" if value is None else _bytes(value, option)
    try:
        json.loads(body)
    except ValueError:
        raise BadUsage(
            f"""{option}: it is no JSON; text is written with quotes: {option} '"yes"'"""
        ) from None
    return Sent(body, _JSON)


def _bytes(value: str, option: str) -> bytes:
    if value == "-":
        return sys.stdin.buffer.read()
    if not value.startswith("@"):
        return value.encode("utf-8", "surrogateescape")
    try:
        return Path(value[1:]).read_bytes()
    except OSError as error:
        raise BadUsage(f"{option} {value}: {error.strerror}; expected a file") from None


def _send(
    place: Sequence[str],
    sent: Sent,
    application: str | None,
    url: str | None,
    key_file: Path | None,
) -> None:
    path = "/v1/" + "/".join(quote(part, safe="") for part in place)
    query = {"application": application, "error": sent.error}
    where.api(url, key_file).put_in(path, query, sent.body, sent.kind)
