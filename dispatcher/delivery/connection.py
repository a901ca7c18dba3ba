"""One connection to a destination: moves bytes, decides nothing.

It carries one request at a time (no pipelining). Between two requests it stands idle, and anything
that arrives then, the end included, makes it useless.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from dispatcher.core.destination import Destination
from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.response import Progress, Response


class Owner(Protocol):
    """Who is told what happens on a connection: the pool."""

    def opened(self, connection: Connection) -> None:
        """It can be written to."""

    def answered(self, connection: Connection, attempt: Attempt, progress: Progress) -> None:
        """The response is complete, or cannot become so."""

    def ended(self, connection: Connection, attempt: Attempt, error: Exception | None) -> None:
        """The destination closed it, or it failed with `error`, while an attempt waited."""

    def useless(self, connection: Connection) -> None:
        """It was idle, and the destination closed it or sent something. May be said twice."""

    def closed(self, connection: Connection) -> None:
        """It is gone. The last call for it."""


class Connection(asyncio.Protocol):
    """One open connection.

    `attempt`       the one that waits for a response here, None while idle.
    `response`      what came of its response.
    `carried`       complete exchanges so far; above 0 a sudden end may just be the idle timeout of
                    the destination that met our request on its way.
    `sending`       the body is still being written by a task.
    """

    __slots__ = (
        "_drained",
        "_owner",
        "_paused",
        "_transport",
        "attempt",
        "carried",
        "destination",
        "response",
        "sending",
    )

    _transport: asyncio.Transport

    def __init__(self, destination: Destination, owner: Owner) -> None:
        self.destination = destination
        self.response = Response()
        self.attempt: Attempt | None = None
        self.carried = 0
        self.sending = False
        self._owner = owner
        self._paused = False
        self._drained: asyncio.Future[None] | None = None

    def send(self, attempt: Attempt) -> None:
        """Write the request: all of it, or all before the body when that is too large to hold."""
        self.attempt = attempt
        attempt.connection = self
        message = attempt.message
        self.response.expect(head=message.head.startswith(b"HEAD "))
        self._transport.write(
            b"".join(
                (
                    message.head,
                    b"X-Dispatcher-Message-Id: ",
                    message.wire_id,
                    b"\r\nX-Dispatcher-Attempt: %d\r\n\r\n" % message.attempt,
                    message.body,
                )
            )
        )

    async def write(self, data: bytes) -> None:
        """Write more of a body; return when most of it left (the transport's low-water mark).

        Returns at once when the connection is gone; the pool hears of that by itself.
        """
        self._transport.write(data)
        if self._paused:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    @property
    def written(self) -> bool:
        """The whole request has left."""
        return not self.sending and not self._transport.get_write_buffer_size()

    @property
    def closing(self) -> bool:
        """It cannot be written to any more."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close it in an orderly way; for one that is idle. `closed` follows."""
        self._transport.close()

    def abort(self) -> None:
        """Drop it with everything unsent and unread; the attempt on it is nobody's now."""
        self.attempt = None
        self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the response being read."""
        attempt = self.attempt
        if attempt is None:
            self._owner.useless(self)
            return
        progress = self.response.feed(data)
        if progress is not Progress.MORE:
            self._owner.answered(self, attempt, progress)

    def eof_received(self) -> None:
        """The destination sends nothing more; the transport closes itself after this."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, by whoever's doing."""
        self.resume_writing()
        self._end(exc)
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """The destination reads slower than a body comes."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on with the body."""
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _end(self, error: Exception | None) -> None:
        if self.attempt is None:
            self._owner.useless(self)
        else:
            self._owner.ended(self, self.attempt, error)
