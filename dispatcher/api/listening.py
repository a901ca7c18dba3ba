"""What both listeners of the API have in common, `server` and `front.server`: an application of
aiohttp behind doors, the connections that come through them, and the keys that let these stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from dispatcher.api.accepting import Accepting, forget_handlers
from dispatcher.api.connections import Connections
from dispatcher.api.doors import Doors
from dispatcher.core.keys import Key, Keyring
from dispatcher.errors import DispatcherError
from dispatcher.listening.tls import Secured

STOP_SECONDS: Final = 0.5
"""How long calls under way have to end when the server stops, and once more until they are cut."""


class Listening:
    """One listener, from its doors to the handlers of `application`.

    Life: `await start()`, then `close()` and `await stop()`.
    """

    def __init__(
        self,
        application: web.Application,
        connections: Connections,
        keys: Keyring,
        doors: Doors,
        *,
        tls: Secured | None,
        cancels_handlers: bool = False,
    ) -> None:
        """`connections` are those that the application's middlewares know. `tls` secures them;
        None: they are plain. `cancels_handlers`: a request whose caller has gone is not
        answered to its end."""
        self._connections = connections
        self._keys = keys
        self._doors = doors
        self._runner = web.AppRunner(
            application, shutdown_timeout=STOP_SECONDS, handler_cancellation=cancels_handlers
        )
        self._accepting = Accepting(self._runner, connections, tls)

    @property
    def bound(self) -> list[tuple[str, int]]:
        """Addresses and ports it listens on; empty before `start` and after `close`, and for a unix
        socket."""
        return self._doors.bound

    async def start(self) -> None:
        """Listen. Returns when requests are answered.

        Raises:
            PortTaken: the port is in use, or the address may not be bound.
            ConfigError: the host has no address, or there can be no such unix socket.
        """
        await self._runner.setup()
        try:
            await self._doors.open(self._accepting.connect)
        except DispatcherError:
            await self.stop()
            raise
        self._connections.start()

    def close(self) -> None:
        """Accept no more connections; requests on those that there are go on. Idempotent."""
        self._doors.close()

    async def stop(self) -> None:
        """Stop listening and close every connection. Idempotent."""
        self.close()
        self._doors.leave()
        await self._runner.cleanup()
        self._connections.stop()
        forget_handlers()

    def replace_keys(self, keys: Iterable[Key]) -> None:
        """Let operators show these keys from now on, and no others; whoever has shown another one
        is cut off.

        Raises:
            ValueError: as `Keyring.replace`; nothing has changed.
        """
        self._keys.replace(keys)
        self._connections.keep_only(self._keys)


async def expected_later(_: web.Request) -> None:
    """`Expect` is looked at when the request is read, after its key, or by who it is passed on to:
    not by aiohttp before anything else."""
