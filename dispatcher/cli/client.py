"""A small client of the management API, over `http.client`: commands start fast, and run once.

Every request has a connection of its own. One that is kept may be closed by the server just as the
next request is written, and then nobody knows whether that was carried out; a new one on loopback
costs less than the doubt. Proxy variables of the environment are not looked at: keys go to the
address that was named, and nowhere else.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

from dispatcher.cli.address import Server
from dispatcher.cli.errors import CommandError, Moved, RefusedNow
from dispatcher.cli.translating import decoded, refuse, translated

Json = dict[str, Any]

ACCEPTED: Final = 202
PATIENCE_SECONDS: Final = 8.0
"""What a node had is elsewhere within 6 s, as a rule."""
_MOVED_SECONDS: Final = 0.5
_MAX_LINE_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 18
_LINES: Final = "application/x-ndjson"


class Api:
    """The calls of docs/api.md. Every method raises a `CommandError` with the fitting exit code."""

    def __init__(
        self, server: Server, key: str | None, *, patience_s: float = PATIENCE_SECONDS
    ) -> None:
        """For so long `get` waits for an API that is on its way to another node."""
        self.server = server
        self._key = key
        self._patience_s = patience_s

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Json:
        """Return what is at a path."""
        path, deadline_s = _with_query(path, query), time.monotonic() + self._patience_s
        while True:
            try:
                return self._object(self._call("GET", path))
            except Moved as moved:
                if time.monotonic() >= deadline_s:
                    raise RefusedNow(f"{moved} {self._why_not_ready()}".rstrip()) from moved
            time.sleep(_MOVED_SECONDS)

    def _why_not_ready(self) -> str:
        """What the node that was asked says of itself; empty: it is ready."""
        with self._translated():
            connection = self.server.connect()
            try:
                answer = self._send(connection, "GET", "/readyz", None, "application/json")
                content = answer.read()
            finally:
                connection.close()
        told = decoded(content) or {}
        return f"Its /readyz: {told['message']} ({told['error']})" if "message" in told else ""

    def post(self, path: str, body: Json | None = None) -> Json:
        """Ask for a change. Returns the answer, durable when this returns."""
        return self._object(self._call("POST", path, body))

    def begin(self, path: str, body: Json, *, at_once_s: int) -> tuple[Json, bool]:
        """Ask for what may take long, and wait no longer than so many seconds. Returns the answer
        and False, or the job that does it and True."""
        prefer = {"Prefer": f"respond-async, wait={at_once_s}"}
        status, content = self._ask("POST", path, body, headers=prefer)
        return self._object(content), status == ACCEPTED

    def patch(self, path: str, body: Json) -> Json:
        """Change something. Returns it as it is then."""
        return self._object(self._call("PATCH", path, body))

    def remove(self, path: str) -> Json:
        """End something, and return how it is then."""
        return self._object(self._call("DELETE", path))

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

    @contextmanager
    def download_bytes(
        self, path: str, query: Mapping[str, object] | None = None
    ) -> Iterator[Iterator[bytes]]:
        """As `download`, of what is no lines."""
        with self._opened(_with_query(path, query), "*/*") as (_, answer):
            yield self._pieces(answer)

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        with self._translated():
            while piece := answer.read1(_PIECE_BYTES):
                yield piece
            if answer.length:  # `read1` does not say so itself
                raise http.client.IncompleteRead(b"", answer.length)

    @contextmanager
    def ask_lines(self, path: str, body: Json) -> Iterator[Iterator[bytes]]:
        """Ask for a change that takes long, and give the lines of its answer as they come.

        Raises:
            Unreachable: also from the lines: the connection broke.
        """
        with self._opened(path, _LINES, body) as (_, answer):
            yield self._lines(answer)

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
        self, path: str, accepted: str, body: Json | None = None
    ) -> Iterator[tuple[http.client.HTTPConnection, http.client.HTTPResponse]]:
        """Open an answer of 200, to a POST when there is a body. What goes wrong with what is made
        of it is not the network's."""
        method = "GET" if body is None else "POST"
        with self._translated():
            connection = self.server.connect()
        try:
            with self._translated():
                answer = self._send(connection, method, path, body, accepted)
                if answer.status != 200:
                    refuse(answer.status, answer.read(), what=str(self.server))
            yield connection, answer
        finally:
            connection.close()

    def _call(
        self, method: str, path: str, body: Json | bytes | None = None, kind: str = _LINES
    ) -> bytes:
        """`kind` is of a body of bytes."""
        return self._ask(method, path, body, kind)[1]

    def _ask(
        self,
        method: str,
        path: str,
        body: Json | bytes | None = None,
        kind: str = _LINES,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[int, bytes]:
        with self._translated():
            connection = self.server.connect()
            try:
                answer = self._send(
                    connection, method, path, body, "application/json", kind, headers
                )
                content = answer.read()
            finally:
                connection.close()
        if not 200 <= answer.status < 300:
            refuse(answer.status, content, what=str(self.server))
        return answer.status, content

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Json | bytes | None,
        accepted: str,
        kind: str = _LINES,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> http.client.HTTPResponse:
        headers = {"Accept": accepted, **more}
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
        found = decoded(content)
        if found is None:
            raise CommandError(f"{self.server} does not answer like a dispatcher's API; see --url")
        return found

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated(
            self.server, "Is it running? --url or DISPATCHER_API says where the API is"
        ):
            yield


def _with_query(path: str, query: Mapping[str, object] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
