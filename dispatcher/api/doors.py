"""Where the API listens: an address, a unix socket, or sockets that listen already."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from dispatcher.errors import ConfigError, PortTaken
from dispatcher.listening.given import Connect, addresses, serve
from dispatcher.listening.unix import UnixPlace, UnixSocket, unix_socket

_BACKLOG: Final = 128


class Doors:
    """Those of one server."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        unix: UnixPlace | None = None,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        """`host` "" is every interface; `port` 0 any free one; `unix`, or `sockets` that listen
        already, are listened on in place of both."""
        self._host = host
        self._port = port
        self._unix_place = unix
        self._sockets = sockets
        self._unix: UnixSocket | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self.bound: list[tuple[str, int]] = []
        """Addresses and ports it listens on; empty while it is not open, and for a unix socket."""

    async def open(self, connect: Connect) -> None:
        """Accept connections.

        Raises:
            PortTaken: the port is in use, or the address may not be bound. Call `close`.
            ConfigError: the host has no address, or there can be no such unix socket. The same.
        """
        try:
            await self._open(connect)
        except OSError as error:
            raise self._refused(error) from error

    async def _open(self, connect: Connect) -> None:
        sockets = self._sockets
        if not sockets and self._unix_place is not None:
            self._unix = await unix_socket(self._unix_place, setting="API_LISTEN")
            sockets = [self._unix.sock]
        for sock in sockets:
            self._servers.append(await serve(connect, sock, backlog=_BACKLOG))
        self.bound = addresses(sockets)
        if not sockets:
            server = await asyncio.get_running_loop().create_server(
                connect, self._host or None, self._port, backlog=_BACKLOG
            )
            self._servers.append(server)
            self.bound = addresses(server.sockets)

    def close(self) -> None:
        """Accept no more of them. Idempotent."""
        self.bound = []
        while self._servers:
            self._servers.pop().close()

    def leave(self) -> None:
        """Let go of the unix socket. Idempotent."""
        if self._unix is not None:
            self._unix.sock.close()
            self._unix.remove()

    def _refused(self, error: OSError) -> ConfigError | PortTaken:
        where = f"API_LISTEN={self._host}:{self._port}"
        if isinstance(error, socket.gaierror):
            return ConfigError(f"{where}: the host has no address; expected one of this machine's")
        reason = error.strerror or error
        return PortTaken(
            f"{where}: cannot listen there: {reason}. Stop what uses the port, or "
            f"set API_LISTEN to another address."
        )
