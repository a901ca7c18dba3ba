"""Opens the address callers send to, and watches over the time of their connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.shared import HealthAnswer, Shared
from dispatcher.ingress.sockets import Address, listening_sockets
from dispatcher.queue.ports import Acceptor

_BACKLOG: Final = 4096
_SWEEP_S: Final = 1.0
_SWEEPS_A_TIMEOUT: Final = 4
_CLOSE_S: Final = 1.0


class Listener:
    """The listener: one for a process.

    Counters are plain integers, read when somebody asks. What was accepted is counted by the queue.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        config: IngressConfig,
        health: Callable[[], HealthAnswer],
        incarnation: int,
    ) -> None:
        """`health` answers `GET /readyz`; `incarnation` is put into every message."""
        self._acceptor = acceptor
        self._config = config
        self._health = health
        self._incarnation = incarnation
        self._shared: Shared | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self._sweep: asyncio.TimerHandle | None = None
        self.bound: list[Address] = []
        """Addresses and ports listened on, once started."""

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
            ConfigError: the host is not known. Nothing is listened on.
        """
        loop = asyncio.get_running_loop()
        config = self._config
        shared = Shared(
            self._acceptor, config, self._health, self._incarnation, loop.time, loop.call_soon
        )
        sockets = await listening_sockets(config.host, config.port, reuse_port=config.reuse_port)
        self._shared = shared
        self.bound = [sock.getsockname()[:2] for sock in sockets]
        for sock in sockets:
            server = await loop.create_server(
                lambda: Connection(shared), sock=sock, backlog=_BACKLOG
            )
            self._servers.append(server)
        self._check_connections()

    def stop_accepting(self) -> None:
        """Close the address and idle connections; others end with their next answer. Idempotent.

        What still arrives on them is refused by the acceptor, which has to say so by then.
        """
        if self._shared is None or self._shared.stopping:
            return
        self._shared.stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self._shared.connections):
            connection.retire()

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
                self._sweep.cancel()
        await asyncio.sleep(0)  # the transports tell their connections in the next turn of the loop

    def _check_connections(self) -> None:
        """Look at the clock for every connection: one timer for all, not one for each."""
        shared = self._shared
        if shared is None:
            return
        shared.tick()
        for connection in list(shared.connections):
            connection.check(shared.now_s)
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self._sweep_s(), self._check_connections)

    def _sweep_s(self) -> float:
        config = self._config
        shortest = min(config.head_timeout_s, config.body_timeout_s, config.idle_timeout_s)
        return min(_SWEEP_S, shortest / _SWEEPS_A_TIMEOUT)
