"""Connections to the API: a bounded number of them, and none that keeps the server waiting.

Each takes a descriptor before any key is seen, so their number is bounded; when it is reached, one
makes room: the stranger whose last answer is longest ago, else the one that is idle for longest.
A stranger has not yet made a request with a right key (or, where no keys are set, one that is no
web page's); it has `FIRST_SECONDS` for that. Whoever does not read an answer for `WRITE_SECONDS` is
cut off, in the middle of it or after it.

`Connections` decides; a `Connection` stands between the transport and the protocol that speaks
HTTP, and only notes what it needs to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.core.keys import Key, Keyring

FIRST_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 1.0
_LATE_SECONDS: Final = 2 * _LOOK_SECONDS


class Connection(asyncio.Protocol):
    """One connection. `idle_since` is when its last request was answered, or when it began;
    `requests` are under way. `key` was shown last, by who `is_known`; None where no keys are set.
    `gone` is set when it is no more."""

    def __init__(self, inner: asyncio.Protocol, all_: Connections) -> None:
        self.is_known = False
        self.key: Key | None = None
        self.requests = 0
        self.idle_since = 0.0
        self.gone = asyncio.Event()
        self._inner = inner
        self._all = all_
        self._transport: asyncio.Transport | None = None
        self._unwritten = 0
        self._written_at = 0.0

    def __repr__(self) -> str:
        who = "known" if self.is_known else "stranger"
        return f"<Connection {who}, {self.requests} requests, {self._unwritten} bytes unread>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of its subclasses
        self._inner.connection_made(transport)
        self._all.opened(self, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.closed(self)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._unwritten = 0  # the other side took most of what was there, whatever comes now
        self._inner.resume_writing()

    def abort(self) -> None:
        """Close at once; what was not written yet is dropped."""
        if self._transport is not None:
            self._transport.abort()

    def unread_for(self, now: float) -> float:
        """For how many seconds the other side has taken nothing of what is written to it."""
        left = 0 if self._transport is None else self._transport.get_write_buffer_size()
        if not left or not self._unwritten or left < self._unwritten:
            self._written_at = now
        self._unwritten = left
        return now - self._written_at


class Connections:
    """All connections of one server, `most` at once."""

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock, in seconds."""
        self._most = most
        self._now = now
        self._open: dict[Connection, asyncio.BaseTransport] = {}
        self._by_transport: dict[asyncio.BaseTransport, Connection] = {}
        self._looked_at = now()
        self._next_look: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def start(self) -> None:
        """Begin to look after them."""
        self._look()

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def opened(self, connection: Connection, transport: asyncio.BaseTransport) -> None:
        """There is one more: let another one go where there are too many, or this one."""
        if len(self._open) >= self._most:
            # A stranger's requests are no reason to stay: it could have one under way at all times.
            may_leave = [one for one in self._open if not (one.is_known and one.requests)]
            leaves = min(
                may_leave, key=lambda one: (one.is_known, one.idle_since), default=connection
            )
            self._drop(leaves)
            if leaves is connection:
                return
        connection.idle_since = self._now()
        self._open[connection] = transport
        self._by_transport[transport] = connection

    def closed(self, connection: Connection) -> None:
        """There is one less. Idempotent."""
        connection.gone.set()
        transport = self._open.pop(connection, None)
        if transport is not None:
            del self._by_transport[transport]

    def know(self, request: web.Request, key: Key | None = None) -> None:
        """Who is connected may use the API, with this key: the connection may stay."""
        connection = self._of(request)
        if connection is not None:
            connection.is_known = True
            connection.key = key

    def keep_only(self, keys: Keyring) -> None:
        """Close the connections of those who have shown a key that is none of these, at once: an
        answer can go on for hours."""
        for connection in tuple(self._open):
            key = connection.key
            if key is not None and keys.find(key.secret) != key:
                self._drop(connection)

    async def stays(self, request: web.Request, seconds: float) -> bool:
        """Wait, and say whether the request's connection is still there: at once when it goes."""
        connection = self._of(request)
        if connection is None:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await connection.gone.wait()
        return not connection.gone.is_set()

    def middleware(self) -> Middleware:
        """Make the middleware that notes which connections are in use."""

        @web.middleware
        async def note_use(request: web.Request, handler: Handler) -> web.StreamResponse:
            with self._in_use(self._of(request)):
                return await handler(request)

        return note_use

    @contextmanager
    def _in_use(self, connection: Connection | None) -> Iterator[None]:
        if connection is None:
            yield
            return
        connection.requests += 1
        try:
            yield
        finally:
            connection.requests -= 1
            connection.idle_since = self._now()

    def _of(self, request: web.Request) -> Connection | None:
        """The connection of a request; None when it was closed meanwhile."""
        transport = request.transport
        return None if transport is None else self._by_transport.get(transport)

    def _drop(self, connection: Connection) -> None:
        self.closed(connection)
        connection.abort()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_look = loop.call_later(_LOOK_SECONDS, self._look)  # first, whatever comes
        self.look()

    def look(self) -> None:
        """Close the connections that keep the server waiting. Not when it comes late: the process
        stood still then, and what was sent meanwhile is still to be read."""
        now = self._now()
        was_late = now - self._looked_at > _LATE_SECONDS
        self._looked_at = now
        if was_late:
            return
        for connection in tuple(self._open):
            try:
                if self._is_too_slow(connection, now):
                    self._drop(connection)
            except Exception as error:
                # Those after it would have no time-outs; so it goes, and the others are looked at.
                self.closed(connection)
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"looking after {connection!r} failed", "exception": error}
                )

    @staticmethod
    def _is_too_slow(connection: Connection, now: float) -> bool:
        is_waited_for = not connection.is_known and not connection.requests
        if is_waited_for and now - connection.idle_since >= FIRST_SECONDS:
            return True
        return connection.unread_for(now) >= WRITE_SECONDS
