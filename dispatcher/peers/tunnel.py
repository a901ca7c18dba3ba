"""Connections to the API, which is on the node that has partition 0: from any node, as if it were
on its own.

    this node has it     its unix socket
    another node has it  through the gates of both (`gate`, purpose `API`), and there to its unix
                         socket: bytes go through as they come, both ways, at the pace of the slower
                         side; each side may end before the other
    nobody is known to   an error, at once

When the API goes to another node, connections to where it was are cut: nobody goes on talking to a
node that may not know yet that it has lost it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from dispatcher.peers.errors import NotConnected
from dispatcher.peers.gate import Gate, Lookup
from dispatcher.peers.handshake import Purpose
from dispatcher.telemetry.supervisor import Supervisor

_CONNECT_S: Final = 5.0
"""For the unix socket of this machine; between nodes the gate has a bound of its own."""
_UNREAD_BYTES: Final = 64 * 1024
"""Kept for who reads slowly, in each direction; the socket is not read beyond."""


class Tunnel:
    """The way of one node to the API. `connect` is what the front of the API asks for
    (`api.front.Upstream`)."""

    def __init__(
        self,
        me: int,
        gate: Gate,
        *,
        owner: Callable[[], int | None],
        address_of: Lookup,
        path: str,
        supervisor: Supervisor,
    ) -> None:
        """`owner` is the member that has the API; None: nobody is known to. `path` is where it
        listens on this node when it is here."""
        self._me = me
        self._gate = gate
        self._owner = owner
        self._address_of = address_of
        self._path = path
        self._supervisor = supervisor
        self._lines: dict[_Line, int] = {}
        self._splices: set[_Splice] = set()
        self._is_stopped = False

    def __repr__(self) -> str:
        return (
            f"<Tunnel to member {self._owner()}: {len(self._lines)} out, {len(self._splices)} in>"
        )

    def start(self) -> None:
        """Let connections of other nodes in."""
        self._gate.on(Purpose.API, self._accept)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the API.

        Raises:
            OSError, DispatcherError: nobody is known to have it, or can be reached.
        """
        owner = self._owner()
        if owner is None or self._is_stopped:
            raise NotConnected("Nobody is known to have the API at the moment.")
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_UNREAD_BYTES, loop)
        line = _Line(reader, self._lines)
        self._lines[line] = owner
        try:
            if owner == self._me:
                async with asyncio.timeout(_CONNECT_S):
                    await loop.create_unix_connection(lambda: line, self._path)
            else:
                address = self._address_of(owner)
                if address is None:
                    raise NotConnected(f"Nobody knows where member {owner} is.")
                await self._gate.connect(address, Purpose.API, line)
        except TimeoutError as error:
            self._forget(line)
            raise ConnectionError("the API did not take the connection in time") from error
        except BaseException:
            self._forget(line)
            raise
        transport = line.transport
        if transport is None or line not in self._lines:
            raise NotConnected("The API has moved to another node.")
        return reader, asyncio.StreamWriter(transport, line, reader, loop)

    def _forget(self, line: _Line) -> None:
        self._lines.pop(line, None)
        line.cut()

    def go_on(self) -> None:
        """The directory has changed: cut what goes to where the API is not any more."""
        now = self._owner()
        for line, owner in [*self._lines.items()]:
            if owner != now:
                self._forget(line)
        if now != self._me:
            for splice in [*self._splices]:
                splice.cut()

    def stop(self) -> None:
        """Cut all connections, and let none in any more. Idempotent."""
        self._is_stopped = True
        self._gate.off(Purpose.API)
        for line in [*self._lines]:
            self._forget(line)
        for splice in [*self._splices]:
            splice.cut()

    # For other nodes.

    def _accept(self) -> asyncio.Protocol:
        splice = _Splice(self._splices.discard)
        if self._owner() == self._me and not self._is_stopped:
            self._splices.add(splice)
            self._supervisor.spawn("connecting to the API", self._join(splice))
        else:
            splice.cut()
        return splice.outer

    async def _join(self, splice: _Splice) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.get_running_loop().create_unix_connection(
                    lambda: splice.inner, self._path
                )
        except OSError:  # it is not there any more, or not yet; a timeout is one too
            splice.cut()


class _Line(asyncio.StreamReaderProtocol):
    """This node's end of a connection. One that was cut raises where it is read: what came before
    is not all."""

    def __init__(self, reader: asyncio.StreamReader, lines: dict[_Line, int]) -> None:
        super().__init__(reader, loop=asyncio.get_running_loop())
        self.transport: asyncio.Transport | None = None
        self._lines = lines
        self._was_cut = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)
        super().connection_made(transport)
        if self._was_cut:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._lines.pop(self, None)
        if self._was_cut:
            exc = ConnectionResetError("the API has moved to another node")
        super().connection_lost(exc)

    def cut(self) -> None:
        """End it, whatever was to come."""
        self._was_cut = True
        if self.transport is not None:
            self.transport.abort()


class _Splice:
    """Two connections that are one: `outer` comes from another node, `inner` goes to the API."""

    def __init__(self, ended: Callable[[_Splice], object]) -> None:
        self.outer = _End()
        self.inner = _End()
        self.outer.other, self.inner.other = self.inner, self.outer
        self._ended = partial(ended, self)
        self.outer.lost = self._ended

    def cut(self) -> None:
        """End both."""
        self.outer.cut()
        self.inner.cut()
        self._ended()


class _End(asyncio.Protocol):
    """One of both connections: what comes here leaves at the `other` one."""

    other: _End

    def __init__(self) -> None:
        self.lost: Callable[[], object] = _nothing
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        """What came before the other one was there."""
        self._is_held = self._has_ended = self._was_cut = self._is_over = False

    def cut(self) -> None:
        """End it at once."""
        self._was_cut = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there; nothing is read until the other one is, too."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_UNREAD_BYTES)
        if self._was_cut:
            self._transport.abort()
        elif self.other._transport is None:
            self.hold()
        else:
            self.other._go_on()

    def _go_on(self) -> None:
        early, self._early = self._early, []
        for data in early:
            self.other.write(data)
        if self._has_ended:
            self.other.end()
        self.let_go()

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other._transport is None:
            self._early.append(data)
        else:
            self.other.write(data)

    def eof_received(self) -> bool:
        """This side writes nothing more; it may read on."""
        self._has_ended = True
        if self.other._transport is not None:
            self.other.end()
        return True

    def pause_writing(self) -> None:
        """This side reads slowly: so does the other one."""
        self.other.hold()

    def resume_writing(self) -> None:
        """It has read."""
        self.other.let_go()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone: so is the other one, when it was given all that had come."""
        self._is_over = True
        if self._has_ended and exc is None:
            self.other.close()
        else:
            self.other.cut()
        self.lost()

    def write(self, data: bytes) -> None:
        """To whoever is at this end."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def end(self) -> None:
        """The other side writes nothing more."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._has_ended:
            transport.close()  # with what is still to be written
            self.other.close()
        elif transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def close(self) -> None:
        """Close it when all is written."""
        if self._transport is not None:
            self._transport.close()
        else:
            self._was_cut = True

    def hold(self) -> None:
        """Read nothing for now."""
        transport = self._transport
        if not self._is_held and not self._is_over and transport is not None:
            self._is_held = True
            if not transport.is_closing():
                transport.pause_reading()

    def let_go(self) -> None:
        """Read on."""
        transport = self._transport
        if self._is_held and not self._is_over and transport is not None:
            self._is_held = False
            if not transport.is_closing():
                transport.resume_reading()


def _nothing() -> None:
    """Nobody wants to know."""
