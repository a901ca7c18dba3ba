"""The handshake on a connection: once it is over the connection belongs to the protocol that it is
for, which sees nothing of it.

    connected ─▶ handshake ─▶ over: `connection_made` of the inner protocol, and all that follows
                           └▶ failed, late, lost: closed, and whoever wants to know is told why
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final, cast

from dispatcher.peers.handshake import (
    NONCE_BYTES,
    Accepting,
    Connecting,
    HandshakeFailed,
    Purpose,
    Reason,
)

HANDSHAKE_S: Final = 5.0
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A machine that is gone says nothing: its connections end after some 25 s."""

Make = Callable[[], asyncio.Protocol]
Failed = Callable[["Accepted", HandshakeFailed], None]


class Accepted(asyncio.Protocol):
    """A connection that somebody has made to this node."""

    def __init__(
        self,
        key: bytes,
        serves: Mapping[Purpose, Make],
        *,
        over: Callable[[Accepted], None],
        failed: Failed,
    ) -> None:
        """`serves` makes the inner protocol. One of `over` and `failed` is called once."""
        self._handshake = Accepting(key, os.urandom(NONCE_BYTES))
        self._serves = serves
        self._over = over
        self._failed = failed
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.address = ""
        """Of the other side."""

    def __repr__(self) -> str:
        return f"<Accepted {self.address}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has so much time from here on."""
        self._transport = cast(asyncio.Transport, transport)
        self.address = address_of(transport)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        """A part of the handshake."""
        transport = self._transport
        if transport is None:
            return  # what came behind a failure
        try:
            answer = self._handshake.receive(data, frozenset(self._serves))
        except HandshakeFailed as error:
            self._fail(error)
            return
        if answer:
            transport.write(answer)
        if self._handshake.is_over:
            self._end()
            self._over(self)
            hand_over(transport, self._serves[self._handshake.purpose]())

    def eof_received(self) -> bool:
        """It went away."""
        self._fail(HandshakeFailed(Reason.CLOSED))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, or was closed here."""
        self._fail(HandshakeFailed(Reason.CLOSED))

    def drop(self) -> None:
        """Close it: there are too many that are not known yet."""
        self._fail(HandshakeFailed(Reason.LATE))

    def _give_up(self) -> None:
        self._fail(HandshakeFailed(Reason.LATE))

    def _fail(self, error: HandshakeFailed) -> None:
        transport = self._end()
        if transport is None:
            return
        if error.answer:
            transport.write(error.answer)
            transport.close()
        else:
            transport.abort()
        self._failed(self, error)

    def _end(self) -> asyncio.Transport | None:
        transport, self._transport = self._transport, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return transport


class Connected(asyncio.Protocol):
    """A connection that this node has made."""

    def __init__(self, key: bytes, purpose: Purpose, inner: asyncio.Protocol) -> None:
        self._handshake = Connecting(key, purpose, os.urandom(NONCE_BYTES))
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Connected for {self._inner!r}>"

    async def over(self, within_s: float = HANDSHAKE_S) -> None:
        """Wait for the end of the handshake. When this raises, or is cancelled, the connection is
        closed and the inner protocol has heard nothing.

        Raises:
            HandshakeFailed: and why.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._over
        except TimeoutError:
            raise HandshakeFailed(Reason.LATE) from None
        finally:
            if not self._handshake.is_over and self._transport is not None:
                self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._handshake.opening)

    def data_received(self, data: bytes) -> None:
        """A part of the handshake."""
        transport = self._transport
        if transport is None or self._over.done():
            return
        try:
            answer = self._handshake.receive(data)
        except HandshakeFailed as error:
            transport.abort()
            self._over.set_exception(error)
            return
        if answer:
            transport.write(answer)
        if self._handshake.is_over:
            self._over.set_result(None)
            hand_over(transport, self._inner, self._handshake.rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if not self._over.done():
            self._over.set_exception(HandshakeFailed(Reason.CLOSED))


def hand_over(transport: asyncio.Transport, inner: asyncio.Protocol, rest: bytes = b"") -> None:
    """From now on the connection is `inner`'s; `rest` came already."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        for level, option, value in _KEEPALIVE:
            sock.setsockopt(level, option, value)
    transport.set_protocol(inner)
    inner.connection_made(transport)
    if rest and not transport.is_closing():
        inner.data_received(rest)


def address_of(transport: asyncio.BaseTransport) -> str:
    """The address of the other side."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) and name else ""
