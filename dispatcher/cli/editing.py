"""`dispatcher dead redrive` of one letter that is changed: what is sent in place of what."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dispatcher.cli import output
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.selection import STDIN
from dispatcher.core.destination import Destination

_HEADER: Final = re.compile(r"([^:\s]+):[ \t]*(.*?)[ \t]*")

Headers = list[list[str]]
"""Name and value of each."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was asked for. `headers` are `Name: value`, `removed` names, `body_file` a path or
    `-`."""

    to: str | None = None
    headers: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    body_file: str | None = None

    @property
    def is_any(self) -> bool:
        """Whether anything is to be changed."""
        return self != Change()

    @property
    def is_of_headers(self) -> bool:
        """Whether headers are."""
        return bool(self.headers or self.removed)


def only(ids: Sequence[str], *, is_more: bool) -> str:
    """The one id that a change is of; `is_more` says that something else selects letters.

    Raises:
        BadUsage: it is not one.
    """
    if len(ids) != 1 or ids[0] == STDIN or is_more:
        raise BadUsage(
            "--to, --header, --remove-header and --body-file change one letter: give one id, and "
            "no filters, --all or --rate"
        )
    return ids[0]


def redrive(api: Api, letter_id: str, change: Change, *, dry_run: bool, as_json: bool) -> None:
    """Send a letter again, changed; with `dry_run` print as what.

    Raises:
        BadUsage: a header is none, or is not there to be removed; the destination is none; a file
            cannot be read.
        CommandError: the API refused it.
    """
    path = f"/v1/dead-letters/{quote(letter_id, safe='')}"
    edit: Json = {} if change.to is None else {"destination": _spelled(change.to)}
    letter = api.get(path, {"body": "false"}) if change.is_of_headers or dry_run else {}
    if change.is_of_headers:
        edit["headers"] = edited(letter["headers"], change.headers, change.removed)
    body = None if change.body_file is None else _read(change.body_file)
    if body is not None:
        edit["body"] = base64.b64encode(body).decode("ascii")
    if dry_run:
        _print_dry(letter, edit, body, as_json=as_json)
        return
    answer = api.post(f"{path}/redrive", edit)
    if as_json:
        output.print_json({**answer, "dry_run": False})
    else:
        print(f"{output.clean(letter_id)} was redriven, with {_named(edit)} changed.")


def edited(shown: Iterable[Sequence[str]], given: Sequence[str], removed: Sequence[str]) -> Headers:
    """Headers as they are to be: those given stand where the first of their name was, or at the
    end.

    Raises:
        BadUsage: one is no header, or none of a name is there to be removed.
    """
    headers = [list(line) for line in shown]
    for name in removed:
        left = [line for line in headers if line[0].lower() != name.lower()]
        if len(left) == len(headers):
            raise BadUsage(f"--remove-header {name}: the letter has no such header")
        headers = left
    new: dict[str, Headers] = {}
    for text in given:
        match = _HEADER.fullmatch(text)
        if match is None:
            raise BadUsage(f"--header {text!r}: expected 'Name: value'")
        # The API has a character for a byte, and what is typed is sent in UTF-8.
        value = match[2].encode("utf-8", "surrogateescape").decode("latin-1")
        new.setdefault(match[1].lower(), []).append([match[1], value])
    for name, lines in new.items():
        at = next((n for n, line in enumerate(headers) if line[0].lower() == name), len(headers))
        rest = [line for line in headers[at:] if line[0].lower() != name]
        headers = [*headers[:at], *lines, *rest]
    return headers


def _read(path: str) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadUsage(f"--body-file {path}: {error.strerror}; expected a file") from None


def _spelled(destination: str) -> str:
    """A destination in the one spelling it has elsewhere; what is wrong with it is said also where
    the API is not asked to send anything."""
    try:
        return str(Destination.parse(destination))
    except ValueError as error:
        raise BadUsage(f"--to {destination}: {error}; expected [http[s]://]host[:port]") from None


def sent(headers: Iterable[Sequence[str]], destination: str, size_bytes: int | None) -> Headers:
    """Headers as the server sends them: `Host` names the destination, and where `size_bytes` is
    given `Content-Length` has it, each where it was."""
    made = {"host": Destination.parse(destination).authority}
    if size_bytes is not None:
        made["content-length"] = str(size_bytes)
    lines = [[name, made.pop(name.lower(), value)] for name, value in headers]
    # Where there was none, the server puts one first.
    return [["Host", made["host"]], *lines] if "host" in made else lines


def _print_dry(letter: Json, edit: Json, body: bytes | None, *, as_json: bool) -> None:
    after = {**letter, **edit}
    to = after["destination"]
    headers = sent(after["headers"], to, None if body is None else len(body))
    if as_json:
        output.print_json(
            {"id": letter["id"], "dry_run": True, **edit, "destination": to, "headers": headers}
        )
        return
    print(f"{output.clean(letter['id'])} would be redriven, with {_named(edit)} changed.")
    print(f"Destination: {output.clean(to)}")
    print(f"Request: {output.clean(letter['method'])} {output.clean(letter['target'])}")
    for name, value in headers:
        print(f"  {output.clean(name)}: {output.clean(value)}")
    if body is not None:
        print(f"Body: {output.size(len(body))}")
    print("Nothing was changed.")


def _named(edit: Json) -> str:
    *most, last = edit
    return f"{', '.join(most)} and {last}" if most else str(last)
