"""Opens the addresses callers send to, and watches over the time of their connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, cast

from dispatcher.core.keys import Key
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.entrance import LISTENER, PROXY, Entrance
from dispatcher.ingress.shared import HealthAnswer, Shared
from dispatcher.ingress.sweep import Sweep, every_s
from dispatcher.listening.given import Connect, GivenSockets, addresses, serve
from dispatcher.listening.sockets import Address, listening_sockets
from dispatcher.listening.tls import Secured
from dispatcher.listening.unix import UnixSocket, unix_socket
from dispatcher.queue.ports import Acceptor

_BACKLOG: Final = 4096
_CLOSE_S: Final = 1.0


class Listener:
    """The listener: one for a process, and the forward proxy with it, where there is one. They have
    connections, memory, keys and time in common.

    Counters are plain integers, read when somebody asks. What was accepted is counted by the queue.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        config: IngressConfig,
        health: Callable[[], HealthAnswer],
        given: GivenSockets | None = None,
    ) -> None:
        """`health` answers `GET /readyz`. Sockets that are `given` are listened on in place of the
        addresses of the configuration."""
        self._given = given or GivenSockets()
        self._acceptor = acceptor
        self._config = config
        self._health = health
        self._shared: Shared | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self._sweep: Sweep | None = None
        self._has_stopped = False
        self._unix: UnixSocket | None = None
        self.bound: list[Address] = []
        """Addresses and ports listened on, once started; none for a unix socket."""
        self.proxy_bound: list[Address] = []
        """Those of the forward proxy."""

    @property
    def refused(self) -> dict[str, int]:
        """Requests refused since the start, by the slug of the reason. A copy."""
        return {} if self._shared is None else dict(self._shared.refused)

    @property
    def open_connections(self) -> int:
        """Callers connected now."""
        return 0 if self._shared is None else len(self._shared.connections)

    @property
    def held_bytes(self) -> int:
        """Bytes of request bodies in memory that are not whole, or not durable yet."""
        return 0 if self._shared is None else self._shared.memory.held_bytes

    async def start(self) -> None:
        """Listen; requests may come in before this returns.

        Raises:
            PortTaken: an address is in use, or may not be bound. Nothing is listened on.
            ConfigError: the host is not known, or there can be no such unix socket. Nothing is
                listened on.
        """
        loop = asyncio.get_running_loop()
        config = self._config
        shared = Shared(self._acceptor, config, self._health, loop.time, loop.call_soon)
        sockets = await self._sockets()
        try:
            proxy_sockets = await self._proxy_sockets()
        except BaseException:
            for sock in sockets:
                sock.close()
            self._leave_unix()
            raise
        self._shared = shared
        self.bound, self.proxy_bound = addresses(sockets), addresses(proxy_sockets)
        await self._serve(_connect(shared, LISTENER, config.tls), sockets)
        await self._serve(_connect(shared, PROXY, None), proxy_sockets)
        self._sweep = Sweep(
            loop,
            shared,
            every_s(config.head_timeout_s, config.body_timeout_s, config.idle_timeout_s),
        )
        self._sweep.start()

    async def _sockets(self) -> Sequence[socket.socket]:
        if self._given.listen:
            return self._given.listen
        if self._config.unix is None:
            return await listening_sockets(self._config.host, self._config.port)
        self._unix = await unix_socket(self._config.unix, setting="LISTEN")
        return [self._unix.sock]

    async def _proxy_sockets(self) -> Sequence[socket.socket]:
        if self._given.proxy or self._config.proxy is None:
            return self._given.proxy
        return await listening_sockets(*self._config.proxy, setting="PROXY_LISTEN")

    async def _serve(self, connect: Connect, sockets: Iterable[socket.socket]) -> None:
        for sock in sockets:
            self._servers.append(await serve(connect, sock, backlog=_BACKLOG))

    def _leave_unix(self) -> None:
        if self._unix is not None:
            self._unix.sock.close()
            self._unix.remove()

    def replace_keys(self, keys: Iterable[Key]) -> None:
        """Let callers show these keys from now on, and no others; also those that are connected.

        Raises:
            ValueError: as `Keyring.replace`; nothing has changed.
        """
        self._config.keys.replace(keys)
        self.forget_heads()

    def forget_heads(self) -> None:
        """Decide anew about the next head of every connection: what holds has changed."""
        if self._shared is not None:
            for connection in self._shared.connections:
                connection.forget_heads()

    def announce_stop(self) -> None:
        """Go on accepting, but let every answer end its connection: there will soon be no more."""
        if self._shared is not None:
            self._stop_soon(self._shared)

    def stop_accepting(self) -> None:
        """Close the addresses and idle connections; others end with their next answer. Idempotent.

        What still arrives on them is refused by the acceptor, which has to say so by then.
        """
        if self._shared is None or self._has_stopped:
            return
        self._has_stopped = True
        self._stop_soon(self._shared)
        for server in self._servers:
            server.close()
        self._leave_unix()
        for connection in list(self._shared.connections):
            connection.retire()

    def _stop_soon(self, shared: Shared) -> None:
        shared.stopping = True
        for connection in shared.connections:
            connection.end_soon()

    async def close(self) -> None:
        """Stop, and close every connection; what was answered is written for up to a second.
        Idempotent.

        When cancelled, connections are cut off at once.
        """
        shared = self._shared
        if shared is None:
            return
        self.stop_accepting()
        for connection in list(shared.connections):
            connection.close()
        shared.alone.clear()
        try:
            if shared.connections:
                await asyncio.wait_for(shared.alone.wait(), _CLOSE_S)
        except TimeoutError:
            pass  # callers that do not read what is left for them
        finally:
            for connection in list(shared.connections):
                connection.abort()
            if self._sweep is not None:
                self._sweep.stop()
        await asyncio.sleep(0)  # the transports tell their connections in the next turn of the loop


def _connect(shared: Shared, entrance: Entrance, tls: Secured | None) -> Connect:
    """What makes the protocol of one more connection."""
    # Its base class is missing on purpose; the event loop only looks for the methods.
    plain = cast(Connect, partial(Connection, shared, entrance))
    return plain if tls is None else lambda: tls.secure(plain())
