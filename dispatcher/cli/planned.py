"""What a schedule makes, as it is typed and as it is shown: a call of a function, or a message."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from dispatcher.cli.client import Json
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.outside import read as read_value

Endpoint = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Of a call: where the application listens.", show_default=False
    ),
]
Function = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Of a call: the function that is called.", show_default=False
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        metavar="JSON|@FILE|-",
        help="Its input: JSON, a file of JSON, or JSON on standard input. Default: none.",
        show_default=False,
    ),
]
Destination = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Of a message: where it goes, [http[s]://]host[:port], with a base path or without.",
        show_default=False,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method", "-X", metavar="METHOD", help="Any token. Default: POST.", show_default=False
    ),
]
Target = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Path and query. Default: /.", show_default=False),
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        "-H",
        metavar="'NAME: VALUE'",
        help="Sent as it is; may be repeated.",
        show_default=False,
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An option of the message, as its header without X-Dispatcher-: delay=30s. "
        "May be repeated.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class CallArguments:
    """What was typed of a call."""

    endpoint: str | None
    function: str | None
    input: str | None


@dataclass(frozen=True, slots=True)
class MessageArguments:
    """What was typed of a message."""

    destination: str | None
    method: str | None
    target: str | None
    header: Sequence[str]
    data: str | None
    option: Sequence[str]


def read(call: CallArguments, message: MessageArguments) -> Json:
    """The fields of a schedule that say what it makes.

    Raises:
        BadUsage: it is none of both, or both, or something of it can't be read.
    """
    has_call, has_message = _first_given(call), _first_given(message)
    if has_call is not None and has_message is not None:
        raise BadUsage(f"--{has_call} is of a call, --{has_message} of a message: give one of both")
    if has_message is not None:
        return _message(message)
    if call.endpoint is None or call.function is None:
        raise BadUsage("give --endpoint and --function of a call, or --destination of a message")
    found: Json = {"endpoint": call.endpoint, "function": call.function}
    if call.input is not None:
        value = read_value(call.input, None, None, needs_one=True, option="--input")
        found["input"] = json.loads(value.body)
    return {"call": found}


def _first_given(arguments: CallArguments | MessageArguments) -> str | None:
    """The name of an argument that was typed, None where none was."""
    for one in fields(arguments):
        if getattr(arguments, one.name) not in (None, ()):
            return one.name
    return None


def _message(given: MessageArguments) -> Json:
    if given.destination is None:
        raise BadUsage("--destination is missing: where the message goes")
    found: Json = {"destination": given.destination}
    if given.method is not None:
        found["method"] = given.method
    if given.target is not None:
        found["target"] = given.target
    if given.header:
        found["headers"] = [_header(text) for text in given.header]
    if given.data is not None:
        found["body"] = base64.b64encode(_body(given.data)).decode("ascii")
    if given.option:
        found["options"] = dict(_option(text) for text in given.option)
    return found


def _header(text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise BadUsage(f"--header {text}: expected 'Name: value'")
    # A character for each byte, as the API has it.
    return [name, value.strip().encode("utf-8", "surrogateescape").decode("latin-1")]


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadUsage(f"--option {text}: expected NAME=VALUE, such as delay=30s")
    return name, value


def _body(data: str) -> bytes:
    if data in ("-", "@-"):
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode("utf-8", "surrogateescape")
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise BadUsage(f"--data {data}: {error.strerror}; expected a file") from None


def in_words(found: Json) -> str | None:
    """What a schedule makes, in a line: the function, or method and URL."""
    call = found.get("call")
    if call is not None:
        return str(call.get("function"))
    return f"{found.get('method')} {found.get('destination')}{found.get('target')}"


def record(found: Json) -> dict[str, object]:
    """What a schedule makes, field by field."""
    call = found.get("call")
    if call is not None:
        opaque = call.get("input_any")
        given = json.dumps(call["input"]) if call.get("input") is not None else None
        return {
            "endpoint": call.get("endpoint"),
            "function": call.get("function"),
            "input": given or (None if opaque is None else f"protobuf, in Base64: {opaque}"),
        }
    return {
        "destination": found.get("destination"),
        "method": found.get("method"),
        "target": found.get("target"),
        "headers": "; ".join(": ".join(pair) for pair in found.get("headers") or ()) or None,
        "options": " ".join(f"{key}={value}" for key, value in _items(found)) or None,
        "body": _shown(found.get("body") or ""),
    }


def _items(found: Json) -> list[tuple[str, Any]]:
    return list((found.get("options") or {}).items())


def _shown(body: str) -> str | None:
    """A body as text, or its size."""
    data = base64.b64decode(body)
    try:
        text = data.decode("utf-8")
    except ValueError:
        return f"{len(data)} bytes"
    return text if text.isprintable() and len(text) <= 200 else f"{len(data)} bytes"
