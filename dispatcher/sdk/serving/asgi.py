"""An application as one of ASGI 3.0: https://asgi.readthedocs.io/en/latest/specs/main.html"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import quote

from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.serving.ports import Application
from dispatcher.sdk.serving.requests import SAFE_IN_PATHS, body_size, is_run
from dispatcher.sdk.serving.telling import FirstStart

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class Asgi:
    """Answers HTTP, takes part in the lifespan, and closes WebSockets."""

    def __init__(self, app: Application) -> None:
        self._handler = app
        self._first = FirstStart(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "lifespan"):
            self._first.say()
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"no request of the type {scope['type']!r} is answered here")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], path_of(scope)
        headers = [
            (name.decode("latin-1"), text.decode("latin-1")) for name, text in scope["headers"]
        ]
        body = b""
        if is_run(method, path):
            size = body_size(headers)
            if isinstance(size, Answer):
                await _send(size, send)
                return
            read = await _body(size, receive)
            if read is None:
                return
            body = read
        await _send(await self._handler.handle(method, path, headers, body), send)


def path_of(scope: Scope) -> str:
    """Return the path as it was sent, with its query: what is signed. Where the server does not
    tell, it is encoded anew, as almost everybody does it."""
    raw: bytes | None = scope.get("raw_path")
    path = quote(scope["path"], safe=SAFE_IN_PATHS) if raw is None else raw.decode("latin-1")
    query: str = scope["query_string"].decode("latin-1")
    path = path.partition("?")[0]
    return f"{path}?{query}" if query else path


async def _body(size: int, receive: Receive) -> bytes | None:
    """The body, None where the caller hung up before its end."""
    pieces: list[bytes] = []
    left = size
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece: bytes = message.get("body", b"")
        left -= len(piece)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces) if left == 0 else None
        if left < 0:
            return None


async def _send(answer: Answer, send: Send) -> None:
    headers = [
        (name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in answer.headers
    ]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
