"""One connection to a destination: moves bytes, decides nothing.

It carries one request at a time (no pipelining). Between two requests it stands idle, and anything
that arrives then, the end included, makes it useless.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import Final, Protocol, cast

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.core.room import Rooms
from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.collecting import Collecting
from dispatcher.delivery.progress import Progress
from dispatcher.delivery.response import Response

_REST_BYTES: Final = 65536
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_ATTEMPT: Final = b"\r\nX-Dispatcher-Attempt: %d\r\n\r\n"
_FIRST: Final = _ATTEMPT % 1


class Owner(Protocol):
    """Who is told what happens on a connection: the pool. `rooms` is what answers have that are
    wanted whole, `start_rooms` those of which only the start is."""

    rooms: Rooms
    start_rooms: Rooms

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


class Connection:
    """One open connection. What the event loop calls is named as in `asyncio.Protocol`.

    `place`         which attempts it may carry: those of the same `Attempt.place`.
    `opened_s`      when it was opened, on the event loop's clock.
    `attempt`       the one that waits for a response here, None while idle.
    `response`      what came of its response.
    `carried`       complete exchanges so far; above 0 a sudden end may just be the idle timeout of
                    the destination that met our request on its way.
    `sending`       a part of the body is still to be written by a task.
    `over`          the destination has closed it, or it failed.
    """

    __slots__ = (
        "_drained",
        "_owner",
        "_paused",
        "_transport",
        "attempt",
        "carried",
        "destination",
        "opened_s",
        "over",
        "place",
        "response",
        "sending",
    )

    _transport: asyncio.Transport

    def __init__(self, destination: Destination, owner: Owner, place: bytes | None = None) -> None:
        """`place`: None where nothing but the destination matters."""
        self.destination = destination
        self.place = destination.key if place is None else place
        self.response = Response()
        self.attempt: Attempt | None = None
        self.carried = 0
        self.opened_s = 0.0
        self.over = False
        self.sending = False
        self._owner = owner
        self._paused = False
        self._drained: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        state = "idle" if self.attempt is None else repr(self.attempt)
        return f"<Connection to {self.destination}, {self.carried} carried: {state}>"

    def send(self, attempt: Attempt) -> None:
        """Write the request: all of it, or all before the body when that is too large to hold."""
        self.attempt = attempt
        attempt.connection = self
        message = attempt.message
        head = message.head if attempt.head is None else attempt.head
        # Before anything is written: the answer may be there before the task takes its first step.
        self.sending = message.chunks is not None
        self.response.expect(head=message.head.startswith(b"HEAD "))
        if message.answer_limit:
            self._want(message)
        self._transport.write(
            b"".join(
                (
                    head,
                    b"X-Dispatcher-Message-Id: ",
                    message.wire_id,
                    _FIRST if message.attempt == 1 else _ATTEMPT % message.attempt,
                    message.body,
                )
            )
        )

    def _want(self, message: Message) -> None:
        """Keep the response that is expected."""
        response = self.response
        if not isinstance(response, Collecting):
            self.response = response = Collecting(self, self._owner.rooms, self._owner.start_rooms)
            response.expect(head=message.head.startswith(b"HEAD "))
        response.want(message)

    def pause(self) -> None:
        """Read nothing until there is room for the answer; the time that takes is ours."""
        if self.attempt is not None:
            self.attempt.ours = True
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.attempt is not None:
            self.attempt.ours, self.attempt.late = False, True
        if not self._transport.is_closing():
            self._transport.resume_reading()

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
        self.response.drop()
        self._transport.abort()

    def reset(self) -> None:
        """Drop it at once, so that neither side has to remember it (no TIME_WAIT)."""
        self.attempt = None
        self.response.drop()
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
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
            self.response.untouched = False
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
        attempt = self.attempt
        if exc is not None and attempt is not None and attempt.message.chunks is not None:
            self._read_rest()
        self._end(exc)
        self.response.drop()
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """The destination reads slower than a body comes."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on with the body."""
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _read_rest(self) -> None:
        """A large body could not be written. The destination may have answered before it reset the
        connection; the answer is still with the kernel, but event loops read no more after a write
        that failed."""
        sock = self._transport.get_extra_info("socket")
        if sock is None or self.destination.scheme != "http":
            return
        self.over = self.sending = True  # so it is not kept, whatever the answer says
        with contextlib.suppress(OSError):
            while self.attempt is not None and (data := os.read(sock.fileno(), _REST_BYTES)):
                self.data_received(data)

    def _end(self, error: Exception | None) -> None:
        self.over = True
        if self.attempt is None:
            self._owner.useless(self)
        else:
            self._owner.ended(self, self.attempt, error)
