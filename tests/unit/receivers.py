"""The receiver in front of an application, of ASGI and of WSGI, asked without a server."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dispatcher.receiver import AsgiReceiver, WsgiReceiver, sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"caf\xc3\xa9": \x00\xff}\r\n'
Headers = Sequence[tuple[str, str]]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The slug."""
        found: str = json.loads(self.body)["error"]
        return found


@dataclass
class Handler:
    """What the application does: `bodies` are those it was given. `during` is called in it."""

    status: int = 200
    fails: bool = False
    during: Callable[[], object] | None = None
    bodies: list[bytes] = field(default_factory=list)

    def handle(self, body: bytes) -> None:
        """Do it."""
        self.bodies.append(body)
        if self.during is not None:
            self.during()
        if self.fails:
            raise ZeroDivisionError


def signed(message_id: str = "m", body: bytes = BODY) -> Headers:
    """The headers of a request that is signed now."""
    return list(sign(SECRET, message_id, body).items())


def ask_asgi(
    handler: Handler,
    headers: Headers,
    body: bytes = BODY,
    *,
    path: str = "/",
    pieces: int = 1,
    **options: Any,
) -> Answer:
    """An application of ASGI; the body comes in pieces, and goes out in two."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        read, more = b"", True
        while more:
            message = await receive()
            read, more = read + message["body"], message["more_body"]
        await asyncio.to_thread(handler.handle, read)
        start = {"type": "http.response.start", "status": handler.status, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": b"do", "more_body": True})
        await send({"type": "http.response.body", "body": b"ne"})

    step = max(1, -(-len(body) // pieces))
    parts = [body[place : place + step] for place in range(0, len(body), step)] or [b""]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": "POST", "path": path, "headers": encoded}
    asyncio.run(AsgiReceiver(app, **options)(scope, receive, send))
    start, *bodies = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(each["body"] for each in bodies))


def ask_wsgi(
    handler: Handler,
    headers: Headers,
    body: bytes = BODY,
    *,
    path: str = "/",
    pieces: int = 1,
    **options: Any,
) -> Answer:
    """An application of WSGI; the body comes in pieces, and goes out in two."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        handler.handle(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response(f"{handler.status} Whatever", [])
        return iter([b"do", b"ne"])

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert size >= 0
            return super().read(min(size, -(-len(body) // pieces)))

    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": Slow(body),
    }
    for name, value in headers:
        key = name.upper().replace("-", "_")
        key = key if key == "CONTENT_LENGTH" else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ and "HTTP" in key else value
    started: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        started[:] = [int(status[:3]), {name.lower(): value for name, value in headers}]

    response = WsgiReceiver(app, **options)(environ, start_response)
    try:
        found = b"".join(response)
    finally:
        close = getattr(response, "close", None)
        if close is not None:
            close()
    return Answer(started[0], started[1], found)
