"""Sockets that listen already: bound by who started this process, and perhaps several inherit
them."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dispatcher.listening.sockets import Address

Connect = Callable[[], asyncio.BaseProtocol]
"""Makes the protocol of one more connection."""


@dataclass(frozen=True, slots=True)
class GivenSockets:
    """Those of each listener, over TCP or unix ones. Where there are none, it binds its own, where
    the settings say."""

    listen: Sequence[socket.socket] = ()
    proxy: Sequence[socket.socket] = ()
    api: Sequence[socket.socket] = ()


async def serve(connect: Connect, sock: socket.socket, *, backlog: int) -> asyncio.AbstractServer:
    """Accept connections on a socket that is bound. The file of a unix socket stays when this
    closes: it belongs to who bound it."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        return await loop.create_server(connect, sock=sock, backlog=backlog)
    if sys.version_info >= (3, 13):
        return await loop.create_unix_server(
            connect, sock=sock, backlog=backlog, cleanup_socket=False
        )
    return await loop.create_unix_server(connect, sock=sock, backlog=backlog)


def addresses(sockets: Iterable[socket.socket]) -> list[Address]:
    """Where they are bound; a unix socket has none."""
    return [sock.getsockname()[:2] for sock in sockets if sock.family != socket.AF_UNIX]
