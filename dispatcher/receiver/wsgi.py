"""The receiver in front of an application of WSGI: https://peps.python.org/pep-3333/

A message was handled when its response is a 2xx and whole. That is kept before the response's last
bytes are sent, so that nobody is told what a crash would undo.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final, Protocol, TypeAlias

from dispatcher.protocol.webhooks import TOLERANCE_S
from dispatcher.receiver.answers import EXPECTED, Answer, duplicate, refusal
from dispatcher.receiver.inbox import LEASE_S, Handling, Inbox
from dispatcher.receiver.rules import (
    MOST_BYTES,
    BodyBroken,
    Headers,
    LengthRequired,
    Rules,
    Secrets,
    Unsigned,
    said_size,
)
from dispatcher.receiver.store import Store

Environ: TypeAlias = MutableMapping[str, Any]
Write: TypeAlias = Callable[[bytes], object]


class StartResponse(Protocol):
    """As in the PEP."""

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = ..., /
    ) -> Write: ...


Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

_PIECE_BYTES: Final = 64 * 1024


class WsgiReceiver:
    """Middleware that lets an application see messages that are signed, each once. One may be used
    by any number of threads. The arguments are those of `AsgiReceiver`."""

    def __init__(
        self,
        app: Application,
        *,
        secrets: Secrets | Unsigned,
        store: Store | None,
        tolerance_s: float = TOLERANCE_S,
        lease_s: float = LEASE_S,
        most_bytes: int = MOST_BYTES,
        paths: Sequence[str] = ("/",),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._clock = clock
        self._inbox = None if store is None else Inbox(store, lease_s, clock)
        self._rules = Rules.of(
            secrets,
            tolerance_s=tolerance_s,
            most_bytes=most_bytes,
            paths=paths,
            needs_id=store is not None,
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not self._rules.cover(*_paths(environ)):
            return self._app(environ, start_response)
        try:
            admitted = self._admit(environ)
        except EXPECTED as error:
            admitted = refusal(error)
        match admitted:
            case Answer():
                return _send(admitted, start_response)
            case None:
                return self._app(environ, start_response)
            case Handling():
                return self._handle(admitted, environ, start_response)

    def _admit(self, environ: Environ) -> Handling | Answer | None:
        """Read and check a request, and put the body back. None: it is not handled just once."""
        headers = _headers(environ)
        body = self._body(environ, headers)
        environ["wsgi.input"] = BytesIO(body)
        environ["wsgi.input_terminated"] = True
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        message_id = self._rules.check(headers, body, self._clock())
        if self._inbox is None or message_id is None:
            return None
        handling = self._inbox.begin(message_id)
        return duplicate(message_id) if handling is None else handling

    def _body(self, environ: Environ, headers: Headers) -> bytes:
        size = said_size(headers)
        if size is not None:
            self._rules.check_size(size)
            body = b"".join(_pieces(environ, size))
            if len(body) < size:
                raise BodyBroken(f"The body ended after {len(body)} of {size} bytes.")
            return body
        if environ.get("wsgi.input_terminated"):
            body = b"".join(_pieces(environ, self._rules.most_bytes + 1))
            self._rules.check_size(len(body))
            return body
        if environ.get("HTTP_TRANSFER_ENCODING"):
            raise LengthRequired("This server hands on no chunked bodies: send a Content-Length.")
        return b""

    def _handle(
        self, handling: Handling, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        response = _Response(handling, start_response)
        try:
            response.pieces = self._app(environ, response.start)
        except BaseException:
            handling.release()
            raise
        return response


class _Response:
    """A response on its way. Each piece waits for the next one, and so the last one until the store
    knows how the message ended."""

    def __init__(self, handling: Handling, start_response: StartResponse) -> None:
        self.pieces: Iterable[bytes] = ()
        self._handling = handling
        self._start_response = start_response
        self._is_success = False
        self._is_over = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Write:
        """What the application calls; the server sends nothing before the first piece."""
        self._is_success = status.startswith("2")
        if exc_info is None:
            return self._start_response(status, headers)
        return self._start_response(status, headers, exc_info)

    def __iter__(self) -> Iterator[bytes]:
        waiting: bytes | None = None
        try:
            for piece in self.pieces:
                if waiting is not None:
                    yield waiting
                waiting = piece
        except BaseException:
            self._end(is_success=False)
            raise
        self._end(is_success=self._is_success)
        if waiting is not None:
            yield waiting

    def close(self) -> None:
        """The server is done with it: at the end, or where the caller hung up or a piece failed."""
        try:
            close = getattr(self.pieces, "close", None)
            if close is not None:
                close()
        finally:
            self._end(is_success=False)

    def _end(self, *, is_success: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        if is_success:
            self._handling.finish()
        else:
            self._handling.release()


def _pieces(environ: Environ, size: int) -> Iterator[bytes]:
    """What is there of so many bytes."""
    while size > 0:
        piece: bytes = environ["wsgi.input"].read(min(size, _PIECE_BYTES))
        if not piece:
            return
        size -= len(piece)
        yield piece


def _headers(environ: Environ) -> Headers:
    """The headers; WSGI has joined those of one name."""
    found = [
        (name.removeprefix("HTTP_").replace("_", "-"), str(text))
        for name, text in environ.items()
        if name.startswith("HTTP_")
    ]
    return [*found, ("Content-Length", str(environ.get("CONTENT_LENGTH") or ""))]


def _paths(environ: Environ) -> tuple[str, str]:
    """The path without and with what the application is mounted below."""
    path = str(environ.get("PATH_INFO", "")).encode("latin-1").decode("utf-8", "replace")
    mount = str(environ.get("SCRIPT_NAME", "")).encode("latin-1").decode("utf-8", "replace")
    return path, mount + path


def _send(answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
    status = HTTPStatus(answer.status)
    start_response(f"{status.value} {status.phrase}", list(answer.headers))
    return [answer.body]
