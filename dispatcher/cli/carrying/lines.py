"""A file of messages as lines for `POST /v1/import`, whoever wrote it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from itertools import chain
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from dispatcher.cli import output
from dispatcher.cli.carrying.first_dispatcher import (
    Contents,
    FirstMessage,
    NotFirstDispatchers,
    read_log,
)
from dispatcher.cli.carrying.gob import GobError
from dispatcher.cli.errors import BadUsage, CommandError

_URL: Final = re.compile(r"(?:(https?)://)?([^/?#]+)([^#]*)", re.IGNORECASE)
_MAX_TIMEOUT_MS: Final = 3_600_000
_MAX_DETAIL: Final = 512


class Line(NamedTuple):
    """One message. `number` is the line's, in files without lines the message's, from 1. With a
    `problem` it cannot be read, and there is no `data`."""

    number: int
    data: bytes
    problem: str | None = None


class Source(NamedTuple):
    """The messages of one file. `note` is what the person should know of it, or None."""

    lines: Iterator[Line]
    note: str | None


def open_source(file: IO[bytes], name: str, *, from_line: int = 1) -> Source:
    """Find out what a file is. Its lines before `from_line` are not given.

    Raises:
        BadUsage: it is neither an export nor one of the first Dispatcher's files.
    """
    start = file.read(1)
    if not start:
        return Source(iter(()), "It is empty.")
    if start in b"{\r\n ":
        return Source(_of_export(start, file, from_line), None)
    contents = _of_first(_whole(start, file), name)
    kind = "dead letter" if contents.is_dead else "waiting message"
    note = f"{output.plural(len(contents), kind)} of the first Dispatcher."
    if contents.torn_bytes:
        note += f" The last {contents.torn_bytes} bytes are no whole record, and are left out."
    return Source(_converted(contents, from_line), note)


def _of_export(start: bytes, file: IO[bytes], from_line: int) -> Iterator[Line]:
    first = start if start == b"\n" else start + file.readline()
    for number, line in enumerate(chain((first,), file), 1):
        if number >= from_line:
            yield Line(number, line.rstrip(b"\r\n"))


def _whole(start: bytes, file: IO[bytes]) -> bytes | mmap:
    try:
        return mmap(file.fileno(), 0, access=ACCESS_READ)
    except (OSError, ValueError):  # not a file, but a pipe
        return start + file.read()


def _of_first(data: bytes | mmap, name: str) -> Contents:
    try:
        return read_log(data)
    except NotFirstDispatchers as error:
        raise BadUsage(
            f"{name}: expected lines of JSON, as `dispatcher export` writes them, or a "
            f"transaction.log or deadletter.log of the first Dispatcher; {error}"
        ) from None


def _converted(contents: Contents, from_line: int) -> Iterator[Line]:
    for number in range(from_line, len(contents) + 1):
        try:
            line = _line(contents.message(number - 1), is_dead=contents.is_dead)
            line["id"] = contents.id(number - 1)
        except GobError as error:
            yield Line(number, b"", str(error))
        else:
            yield Line(number, json.dumps(line).encode("ascii"))


def _line(message: FirstMessage, *, is_dead: bool) -> dict[str, Any]:
    match = _URL.fullmatch(message.url)
    if match is None:
        raise GobError(f"{message.url!r} is no address")
    scheme, host, target = match.groups()
    line: dict[str, Any] = {
        "state": "dead" if is_dead else "waiting",
        "destination": f"{(scheme or 'http').lower()}://{host}",
        "method": message.method,
        "target": target if target.startswith("/") else f"/{target}",
        "headers": [
            (name, value.encode("utf-8", "surrogateescape").decode("latin-1"))
            for name, value in message.headers
        ],
        "body": base64.b64encode(message.body).decode("ascii"),
    }
    if message.timeout_ms > 0:
        line["timeout_ms"] = min(message.timeout_ms, _MAX_TIMEOUT_MS)
    if is_dead:
        line |= {
            "reason": "retries_exhausted",
            "detail": message.error.encode("utf-8", "replace").decode()[:_MAX_DETAIL],
            "attempts": min(max(message.retries, 0) + 1, 0xFFFF),
        }
    return line


def read_file(path: Path) -> IO[bytes]:
    """Open a file to be imported.

    Raises:
        CommandError: it cannot be opened.
    """
    try:
        return path.open("rb")
    except IsADirectoryError:
        raise CommandError(
            f"{path}: a directory; expected a file. To carry over a log of this version, run a "
            "server with it, and `dispatcher export` from that."
        ) from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
