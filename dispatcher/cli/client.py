"""A small client of the management API, over `http.client`: commands start fast, and run once.

Every request has a connection of its own. One that is kept may be closed by the server just as the
next request is written, and then nobody knows whether that was carried out; a new one on loopback
costs less than the doubt. Proxy variables of the environment are not looked at: keys go to the
address that was named, and nowhere else.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

from dispatcher.cli.errors import (
    BadUsage,
    CommandError,
    KeyRefused,
    NotConnected,
    NotFound,
    RefusedNow,
    Unreachable,
)
from dispatcher.core.authority import authority

Json = dict[str, Any]

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0
_MAX_LINE_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 18
_LINES: Final = "application/x-ndjson"
_URL: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z]+)://)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]/?#@:\s]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<base>(?:/[^?#\s]*)?)"
)
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go. `base` is put before every path and does not end with `/`."""

    scheme: str
    host: str
    port: int
    base: str = ""

    @staticmethod
    def parse(url: str, source: str) -> Server:
        """Read `[http[s]://]host[:port][/base]`.

        Raises:
            BadUsage: naming `source`, the option or variable that the address stands in.
        """
        match = _URL.fullmatch(url.strip())
        scheme = (match["scheme"] or "http").lower() if match else ""
        if match is None or scheme not in _DEFAULT_PORT or not _is_port(match["port"]):
            raise BadUsage(f"{source}: expected an address such as http://127.0.0.1:8081")
        port = int(match["port"] or _DEFAULT_PORT[scheme])
        return Server(scheme, match["v6"] or match["host"], port, match["base"].rstrip("/"))

    def connect(self, timeout_s: float = CONNECT_SECONDS) -> http.client.HTTPConnection:
        """Return a connection that is open, with `ANSWER_SECONDS` for each read and write.

        Raises:
            OSError: there is none.
        """
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=timeout_s)
        connection.connect()
        connection.sock.settimeout(ANSWER_SECONDS)
        return connection

    def __str__(self) -> str:
        return f"{self.scheme}://{authority(self.host, self.port)}{self.base}"


class Api:
    """The calls of docs/api.md. Every method raises a `CommandError` with the fitting exit code."""

    def __init__(self, server: Server, key: str | None) -> None:
        self.server = server
        self._key = key

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Json:
        """Return what is at a path."""
        return self._object(self._call("GET", _with_query(path, query)))

    def post(self, path: str, body: Json | None = None) -> Json:
        """Ask for a change. Returns the answer, durable when this returns."""
        return self._object(self._call("POST", path, body))

    def act(self, path: str, query: Mapping[str, object]) -> Json:
        """The same, of which all is said in the query."""
        return self._object(self._call("POST", _with_query(path, query)))

    def put(self, path: str, query: Mapping[str, object], body: Json) -> Json:
        """Make something, or change it. Returns the answer, durable when this returns."""
        return self._object(self._call("PUT", _with_query(path, query), body))

    def post_lines(self, path: str, lines: bytes) -> Json:
        """Send lines of JSON. Returns the answer."""
        return self._object(self._call("POST", path, lines))

    @contextmanager
    def download(self, path: str, query: Mapping[str, object]) -> Iterator[Iterator[bytes]]:
        """Open a long answer, and give its content in pieces.

        Raises:
            Unreachable: also from the pieces: it was cut short.
        """
        with self._opened(_with_query(path, query), _LINES) as (_, answer):
            yield self._pieces(answer)

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        with self._translated():
            while piece := answer.read1(_PIECE_BYTES):
                yield piece
            if answer.length:  # `read1` does not say so itself
                raise http.client.IncompleteRead(b"", answer.length)

    def put_in(self, path: str, query: Mapping[str, object], value: bytes, kind: str) -> None:
        """Send a value of a media type, durable when this returns."""
        self._call("POST", _with_query(path, query), value, kind)

    def delete(self, path: str, query: Mapping[str, object] | None = None) -> None:
        """Ask for a removal, durable when this returns."""
        self._call("DELETE", _with_query(path, query))

    @contextmanager
    def stream(self, path: str, *, silence_s: float) -> Iterator[Iterator[bytes]]:
        """Open an endless answer, and give its lines as they come, without line ends.

        Args:
            path: as in docs/api.md.
            silence_s: how long nothing may come before the connection counts as dead.

        Raises:
            Unreachable: also from the lines: the connection broke.
        """
        with self._opened(path, "text/event-stream") as (connection, answer):
            # An answer that closes the connection takes the socket with it, with its timeout.
            if connection.sock is not None:
                connection.sock.settimeout(silence_s)
            yield self._lines(answer)

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        with self._translated():
            while line := answer.readline(_MAX_LINE_BYTES):
                yield line.rstrip(b"\r\n")

    @contextmanager
    def _opened(
        self, path: str, accepted: str
    ) -> Iterator[tuple[http.client.HTTPConnection, http.client.HTTPResponse]]:
        """Open an answer of 200. What goes wrong with what is made of it is not the network's."""
        with self._translated():
            connection = self.server.connect()
        try:
            with self._translated():
                answer = self._send(connection, "GET", path, None, accepted)
                if answer.status != 200:
                    refuse(answer.status, answer.read(), what=str(self.server))
            yield connection, answer
        finally:
            connection.close()

    def _call(
        self, method: str, path: str, body: Json | bytes | None = None, kind: str = _LINES
    ) -> bytes:
        """`kind` is of a body of bytes."""
        with self._translated():
            connection = self.server.connect()
            try:
                answer = self._send(connection, method, path, body, "application/json", kind)
                content = answer.read()
            finally:
                connection.close()
        if not 200 <= answer.status < 300:
            refuse(answer.status, content, what=str(self.server))
        return content

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Json | bytes | None,
        accepted: str,
        kind: str = _LINES,
    ) -> http.client.HTTPResponse:
        headers = {"Accept": accepted}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        content = None
        if isinstance(body, bytes):
            headers["Content-Type"] = kind
            content = body
        elif body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode("ascii")
        connection.request(method, self.server.base + path, content, headers)
        return connection.getresponse()

    def _object(self, content: bytes) -> Json:
        found = _decoded(content)
        if found is None:
            raise CommandError(f"{self.server} does not answer like a dispatcher's API; see --url")
        return found

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated(
            self.server, "Is it running? --url or DISPATCHER_API says where the API is"
        ):
            yield


@contextmanager
def translated(server: Server, hint: str) -> Iterator[None]:
    """Turn what goes wrong on the network into `Unreachable`, with what to do."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        nobody = isinstance(error, ConnectionRefusedError | socket.gaierror)
        kind = NotConnected if nobody else Unreachable
        raise kind(f"{server}: {reason}. {hint}.") from error


def refuse(
    status: int, content: bytes, *, what: str, key_from: str = "--key-file or DISPATCHER_KEY"
) -> NoReturn:
    """Raise the error that an answer other than 2xx stands for.

    Args:
        status: of the answer.
        content: its body; the message in it is what the user sees.
        what: who answered.
        key_from: where the key for that is read from.
    """
    told = _decoded(content) or {}
    slug = told.get("error")
    message = told.get("message")
    shown = f"{message} ({slug})" if message and slug else f"{what} answered {status}"
    match status:
        case 400 if slug:
            raise BadUsage(shown)
        case 401 | 403:
            raise KeyRefused(f"{shown} A key is read from {key_from}.")
        case 404 if slug and slug != "not_found":
            raise NotFound(shown)
        case 410:
            raise NotFound(shown)
        case 404:
            raise CommandError(f"{shown}: not a dispatcher's API, or an older version of it")
        case 409 | 429 | 503:
            raise RefusedNow(shown)
        case _:
            raise CommandError(shown)


def _decoded(content: bytes) -> Json | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_port(text: str | None) -> bool:
    return text is None or 0 < int(text) < 65536


def _with_query(path: str, query: Mapping[str, object] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
