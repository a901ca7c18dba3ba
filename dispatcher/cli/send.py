"""`dispatcher send`: hand a request to the dispatcher, as a caller does.

It has a flag for each option of a message (`core.options`).
"""

from __future__ import annotations

import base64
import http.client
import inspect
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Annotated, Final
from urllib.parse import quote

import typer

from dispatcher.cli import output, where
from dispatcher.cli.address import ANSWER_SECONDS, Server
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import BadUsage, CommandError, Unreachable
from dispatcher.cli.messages import path_of
from dispatcher.cli.options import AsJson, Data, KeyFile, Url
from dispatcher.cli.signatures import give_parameters, signature_of
from dispatcher.cli.translating import refuse, translated
from dispatcher.core.destination import group_in
from dispatcher.core.options import BY_KEY, KEY, OPTIONS, ORIGIN, PREFIX, WAIT, Option
from dispatcher.core.tokens import TOKEN

_URL: Final = re.compile(r"(?P<origin>(?:https?://)?[^/?#]+)(?P<target>[^#]*)", re.IGNORECASE)
_TOKEN: Final = re.compile(TOKEN.decode("ascii"))
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_OURS: Final = ("host", "content-length", "transfer-encoding")
_FIRST_WAIT_SECONDS: Final = 0.05
_LONGEST_WAIT_SECONDS: Final = 1.0
_UNREACHABLE_SECONDS: Final = 30.0
_LONGEST_RESPONSE_SECONDS: Final = 60.0
_SAME_INSTANT: Final = timedelta(seconds=1)
_FLAGS: Final = {"wait": "--response-within"}
"""Flags of options that are not called as their headers are: `--wait` asks the API, for as long as
it takes."""


Target = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Where the message is to go; group:NAME/path is for each member of a group.",
    ),
]
Method = Annotated[str, typer.Option("--method", "-X", metavar="METHOD", help="Any token.")]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        "-H",
        metavar="'NAME: VALUE'",
        help="Sent as it is; may be repeated. None is added.",
        show_default=False,
    ),
]
Wait = Annotated[
    bool,
    typer.Option("--wait", help="Wait until it is delivered (exit code 0) or dead (1)."),
]
ListenerUrl = Annotated[
    str | None,
    typer.Option(
        "--listener",
        metavar="URL",
        help="Where messages are accepted. Default: DISPATCHER_LISTENER, else the setting LISTEN.",
        show_default=False,
    ),
]
ListenerKeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file with the listener's key in it. Default: DISPATCHER_LISTENER_KEY, else the "
        "first of the setting LISTEN_KEYS.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is written to the listener; `target` is forwarded byte for byte."""

    method: str
    origin: str
    target: str
    headers: tuple[tuple[str, bytes], ...]

    @property
    def is_for_group(self) -> bool:
        """Whether the listener may make several messages of it."""
        return group_in(self.origin.encode("utf-8", "surrogateescape")) is not None

    @staticmethod
    def read(
        url: str, method: str, headers: Sequence[str], options: Mapping[str, str | None]
    ) -> Request:
        """Make a request of what was typed; `options` by their keys, None where one was not.

        Raises:
            BadUsage: naming what cannot be sent.
        """
        match = _URL.fullmatch(url)
        if match is None or "@" in match["origin"]:
            raise BadUsage(
                f"{url}: expected [http[s]://]host[:port][/path][?query], without user information "
                "and fragment"
            )
        if not _TOKEN.fullmatch(method):
            raise BadUsage(f"--method {method}: expected a token such as PUT")
        # Blanks and other alphabets cannot stand in a request; everything else is left as it is.
        target = quote(match["target"], safe=_PRINTABLE)
        own = [_option(BY_KEY[key], text) for key, text in options.items() if text is not None]
        return Request(
            method,
            match["origin"],
            target if target.startswith("/") else f"/{target}",
            (*map(_header, headers), *own),
        )


def _with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Show the parser a parameter for each option, before the flags of the command itself."""
    every = signature_of(command).parameters.values()
    given = [one for one in every if one.kind is not one.VAR_KEYWORD]
    at = 1 + [one.name for one in given].index("data")
    flags = [
        inspect.Parameter(
            option.key,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(flag(option), metavar="VALUE", help=_help(option), show_default=False),
            ],
        )
        for option in OPTIONS
    ]
    give_parameters(command, [*given[:at], *flags, *given[at:]])
    return command


def flag(option: Option) -> str:
    """The flag with which an option is given."""
    return _FLAGS.get(option.key, f"--{option.key.replace('_', '-')}")


def _help(option: Option) -> str:
    text = f"{option.means[0].upper()}{option.means[1:]}. Takes {option.takes}."
    return text.replace("`", "")


@_with_flags
def send(
    target: Target,
    method: Method = "POST",
    header: Headers = None,
    data: Data = None,
    follow: Wait = False,
    listener: ListenerUrl = None,
    listener_key_file: ListenerKeyFile = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    **options: str | None,
) -> None:
    """Send a message, and print its id once it is durable; of a group one id a line."""
    request = Request.read(target, method, header or (), options)
    server, key = where.listener(listener, listener_key_file)
    api = where.api(url, key_file) if follow else None
    with _body(data) as body:
        sent = post(server, key, request, body)
    _show(sent, as_json=as_json)
    if sent.outcome == "dead":
        (message_id,) = sent.ids
        raise CommandError(f"{message_id} is dead; `dispatcher dead show {message_id}` says more")
    if api is not None and sent.outcome is None:
        _follow_all(api, sent.ids, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is durable, or all of those that were sent to a group. `is_duplicate` says
    that it was before, under the same idempotency key; `outcome` what has become of it, where that
    was waited for and is known: `status`, `headers` and `body` are what its destination answered
    then."""

    ids: Sequence[str]
    is_for_group: bool
    status: int
    is_duplicate: bool
    outcome: str | None
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def json(self) -> Json:
        """As it is printed."""
        shown: Json = {"ids": self.ids} if self.is_for_group else {"id": self.ids[0]}
        if self.is_duplicate:
            shown["duplicate"] = True
        if self.outcome is not None:
            shown |= {
                "outcome": self.outcome,
                "status": self.status,
                "headers": [list(one) for one in self.headers],
                "body": base64.b64encode(self.body).decode("ascii"),
            }
        return shown


def _show(sent: Sent, *, as_json: bool) -> None:
    """The id, and below it what the destination answered."""
    if as_json:
        output.print_json(sent.json)
        return
    print("\n".join(sent.ids), flush=True)
    if sent.is_duplicate:
        output.print_note("This is the message that has the key already; nothing was stored.")
    if sent.outcome is not None:
        output.print_note(f"It is {sent.outcome}; the answer was {sent.status}.")
        _show_body(sent.body)


def _show_body(body: bytes) -> None:
    """Byte for byte for programs; a person's terminal gets nothing that it would carry out."""
    if output.is_terminal(sys.stdout):
        for line in body.decode("utf-8", "replace").splitlines():
            print(output.clean(line))
        return
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def post(server: Server, key: str | None, request: Request, body: bytes | IO[bytes] | None) -> Sent:
    """Hand a request to the listener. Returns the message, which is durable then.

    Raises:
        CommandError: it was refused, or nobody knows what came of it.
    """
    hint = "--listener or DISPATCHER_LISTENER says where messages are accepted"
    with translated(server, hint):
        connection = server.connect()
        if any(name == WAIT.title for name, _ in request.headers):
            connection.sock.settimeout(ANSWER_SECONDS + _LONGEST_RESPONSE_SECONDS)
        try:
            answer = _exchange(connection, server, key, request, body)
            content = answer.read()
        finally:
            connection.close()
    message_id = answer.getheader("X-Dispatcher-Message-Id")
    outcome = answer.getheader("X-Dispatcher-Outcome")
    if answer.status < 300 and message_id is None:
        raise CommandError(
            f"{server} answered {answer.status} without an id: not a dispatcher's listener; "
            "see --listener"
        )
    if message_id is None or (answer.status != 202 and outcome is None):
        key_from = f"--listener-key-file or {where.LISTENER_KEY_VARIABLE}"
        refuse(answer.status, content, what=str(server), key_from=key_from)
    is_duplicate = answer.getheader("X-Dispatcher-Duplicate") == "true"
    headers = tuple(answer.getheaders())
    return Sent(
        message_id.split(","),
        request.is_for_group,
        answer.status,
        is_duplicate,
        outcome,
        headers,
        content,
    )


def watch(
    api: Api,
    message_id: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Json]:
    """Yield a message whenever it has changed, until it is delivered or dead.

    Raises:
        Unreachable: for longer than a restart takes.
        CommandError: the API refused to say.
    """
    last: Json = {}
    wait_s = _FIRST_WAIT_SECONDS
    seen_at_s = clock()
    while last.get("state") not in ("delivered", "dead"):
        try:
            found = api.get(path_of(message_id))
            seen_at_s = clock()
        except Unreachable:
            if clock() - seen_at_s > _UNREACHABLE_SECONDS:
                raise
            found = last
        if _is_news(last, found):
            last = found
            yield found
            continue
        sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_SECONDS)


def _is_news(last: Json, found: Json) -> bool:
    """An instant moves a little whenever the wall clock is set, or the API only asked for it."""
    then, now = last.get("next_attempt_at"), found.get("next_attempt_at")
    if then is None or now is None:
        return found != last
    moved = datetime.fromisoformat(now) - datetime.fromisoformat(then)
    return abs(moved) > _SAME_INSTANT or {**found, "next_attempt_at": then} != last


def _follow_all(api: Api, ids: Sequence[str], *, as_json: bool) -> None:
    """Follow one after the other, to the end also if one is dead."""
    dead = [why for one in ids if (why := _follow(api, one, as_json=as_json)) is not None]
    if dead:
        raise CommandError("\n".join(dead))


def _follow(api: Api, message_id: str, *, as_json: bool) -> str | None:
    """Follow a message to its end; return what is to be said if it is dead."""
    found: Json = {}
    for found in watch(api, message_id):
        if as_json:
            output.print_json(found)
        else:
            output.print_note(_progress(found))
    if found.get("state") == "dead":
        return (
            f"{message_id} is dead: {found.get('last_error') or 'rejected'}; "
            f"`dispatcher dead show {message_id}` says more"
        )
    return None


def _progress(found: Json) -> str:
    tried = output.plural(found.get("attempts", 0), "attempt")
    last = f", last error {found['last_error']}" if found.get("last_error") else ""
    again = found.get("next_attempt_at")
    when = f", next at {output.instant(again)}" if again else ""
    return f"{found.get('state')}, {tried}{last}{when}"


def _exchange(
    connection: http.client.HTTPConnection,
    server: Server,
    key: str | None,
    request: Request,
    body: bytes | IO[bytes] | None,
) -> http.client.HTTPResponse:
    """Write exactly the headers that were asked for: http.client would add some of its own."""
    connection.putrequest(
        request.method,
        server.base + request.target,
        skip_host=True,
        skip_accept_encoding=True,
    )
    connection.putheader("Host", server.authority)
    connection.putheader(ORIGIN.title, request.origin.encode("utf-8"))
    if key is not None:
        connection.putheader(KEY.title, key)
    for name, value in request.headers:
        connection.putheader(name, value)
    if isinstance(body, bytes):
        connection.putheader("Content-Length", str(len(body)))
    elif body is not None:
        connection.putheader("Transfer-Encoding", "chunked")
    elif request.method in ("POST", "PUT", "PATCH"):
        connection.putheader("Content-Length", "0")
    # When it is refused before all of the body was there, the answer says why.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.endheaders(body, encode_chunked=not isinstance(body, bytes))
    return connection.getresponse()


def _option(option: Option, text: str) -> tuple[str, bytes]:
    value = text.strip()
    if option.read(value) is None:
        raise BadUsage(f"{flag(option)} {text}: expected {option.takes.replace('`', '')}")
    return option.title, value.encode("ascii")


def _header(text: str) -> tuple[str, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name):
        raise BadUsage(f"--header {text}: expected 'Name: value'")
    if name.lower() in _OURS or name.lower().startswith(PREFIX.lower()):
        raise BadUsage(f"--header {name}: it is set here, or by a flag of its own; see --help")
    if any(c in value for c in "\r\n\0"):
        raise BadUsage(f"--header {name}: a value has no line ends and no NUL")
    return name, value.strip().encode("utf-8", "surrogateescape")


@contextmanager
def _body(data: str | None) -> Iterator[bytes | IO[bytes] | None]:
    """Text is sent as it is; files and standard input are streamed, however large they are."""
    if data in ("-", "@-"):
        yield sys.stdin.buffer
    elif data is not None and data.startswith("@"):
        with _opened(Path(data[1:])) as file:
            yield file
    else:
        yield None if data is None else data.encode("utf-8", "surrogateescape")


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise BadUsage(f"--data @{path}: {error.strerror}; expected a file") from None
