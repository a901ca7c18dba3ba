"""The receiver in front of an application of ASGI 3.0, on asyncio:
https://asgi.readthedocs.io/en/latest/specs/main.html

A message was handled when its response is a 2xx and whole. That is kept before the response's last
bytes are sent, so that nobody is told what a crash would undo.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeAlias

from dispatcher.protocol.webhooks import TOLERANCE_S
from dispatcher.receiver.answers import EXPECTED, Answer, duplicate, refusal
from dispatcher.receiver.inbox import LEASE_S, Handling, Inbox
from dispatcher.receiver.rules import (
    MOST_BYTES,
    Headers,
    Rules,
    Secrets,
    Unsigned,
    said_size,
)
from dispatcher.receiver.store import Store

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_THREADS: Final = 4
"""A store may block, for milliseconds: SQLite has one writer at a time."""
_BODIES: Final = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")


class AsgiReceiver:
    """Middleware that lets an application see messages that are signed, each once.

    Args:
        app: the application.
        secrets: what the sender signs with, base64 after `whsec_` or the bytes; several while they
            change. UNSIGNED: nothing is signed, and everybody is let in.
        store: where handled messages are remembered. None: duplicates are let through.
        tolerance_s: how far a signature's time may be from this clock.
        lease_s: longer than any message takes to be handled: for so long one stays with a process
            that was killed.
        most_bytes: the longest body that is read. It is in memory as a whole.
        paths: which requests are looked at, each with what is below it; others go on as they are.
        clock: seconds since the epoch.
    """

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
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="dispatcher-receiver")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._rules.cover(*_paths(scope)):
            await self._app(scope, receive, send)
            return
        try:
            admitted = await self._admit(scope, receive)
        except EXPECTED as error:
            admitted = refusal(error)
        if isinstance(admitted, Answer):
            await _send(admitted, send)
        elif admitted is not None:
            receive = _Again(admitted.body, receive).receive
            if admitted.handling is None:
                await self._app(scope, receive, send)
            else:
                await self._handle(admitted.handling, scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive) -> _Admitted | Answer | None:
        """Read and check a request. None: nobody is there any more."""
        headers = _headers(scope)
        body = await self._body(headers, receive)
        if body is None:
            return None
        message_id = self._rules.check(headers, body, self._clock())
        if self._inbox is None or message_id is None:
            return _Admitted(body, None)
        handling = await self._begin(self._inbox, message_id)
        return duplicate(message_id) if handling is None else _Admitted(body, handling)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body, None where the caller hung up before its end."""
        self._rules.check_size(said_size(headers) or 0)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece: bytes = message.get("body", b"")
            size += len(piece)
            self._rules.check_size(size)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)

    async def _begin(self, inbox: Inbox, message_id: str) -> Handling | None:
        asked = self._threads.submit(inbox.begin, message_id)
        try:
            return await asyncio.wrap_future(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(_give_back)  # the store may be answering just now
            raise

    async def _handle(self, handling: Handling, scope: Scope, receive: Receive, send: Send) -> None:
        response = _Response(send, handling, self._threads)
        try:
            await self._app(scope, receive, response.send)
        except BaseException:
            await response.failed()
            raise
        await response.returned()


class _Admitted(NamedTuple):
    """A request that the application gets to see, and the right to handle it, if that counts."""

    body: bytes
    handling: Handling | None


class _Again:
    """A body that was read, to be read by the application; what comes after it is the server's."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            return await self._receive()
        return {"type": "http.request", "body": body, "more_body": False}


class _Response:
    """A response on its way. Its start waits for its first bytes, and its end until the store knows
    how the message ended."""

    def __init__(self, send: Send, handling: Handling, threads: ThreadPoolExecutor) -> None:
        self._send = send
        self._handling = handling
        self._threads = threads
        self._start: Message | None = None
        self._is_success = False
        self._is_over = False

    async def send(self, message: Message) -> None:
        """Hand on what the application sends."""
        if message["type"] == "http.response.start":
            self._start = message
            self._is_success = 200 <= message["status"] <= 299
            return
        if message["type"] in _BODIES:
            if not message.get("more_body", False):
                await self._end(is_success=self._is_success)
            await self._send_start()
        await self._send(message)

    async def failed(self) -> None:
        """The application has failed. A start that still waits is dropped: the server, or what is
        around the application, answers 500."""
        await self._end(is_success=False)

    async def returned(self) -> None:
        """The application is done. What it has not ended is no success."""
        await self._end(is_success=False)
        await self._send_start()

    async def _send_start(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            await self._send(start)

    async def _end(self, *, is_success: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        told = self._threads.submit(self._handling.finish if is_success else self._handling.release)
        await asyncio.shield(asyncio.wrap_future(told))


def _give_back(asked: Future[Handling | None]) -> None:
    """Whoever asked has gone."""
    if asked.cancelled() or asked.exception() is not None:
        return
    handling = asked.result()
    if handling is not None:
        handling.release()


def _headers(scope: Scope) -> Headers:
    return [(name.decode("latin-1"), text.decode("latin-1")) for name, text in scope["headers"]]


def _paths(scope: Scope) -> tuple[str, str, str]:
    """The path with and without what the application is mounted below: servers and frameworks
    differ in which of them they say."""
    path: str = scope["path"]
    mount: str = scope.get("root_path", "")
    return path, path.removeprefix(mount), mount + path


async def _send(answer: Answer, send: Send) -> None:
    headers = [
        (name.lower().encode("ascii"), text.encode("ascii")) for name, text in answer.headers
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
